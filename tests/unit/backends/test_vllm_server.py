"""vLLM as a server: the command is the one that TRL asks for, and what answers there is looked at before a run."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from toolkit.backends import vllm_server
from toolkit.backends.vllm_server import PORT, Server, check
from toolkit.cli.serve import Serve, recipe_command, server_for
from toolkit.errors import BackendError, SettingsError
from toolkit.machine.devices import Gpu
from toolkit.settings import GrpoSettings, Lengths, ModelSettings
from toolkit.settings.parse import parse

MODEL = "Qwen/Qwen2.5-3B-Instruct"
CARDS = [Gpu(i, "NVIDIA L4", 22.5, 22.0, (8, 9), "580", visible_as=str(i)) for i in range(2)]


def options(words: list[str]) -> dict[str, str]:
    """`--name value` pairs; a switch has the value `""`."""
    pairs = zip(words, [*words[1:], "--"], strict=True)
    return {word: "" if after.startswith("--") else after for word, after in pairs if word.startswith("--")}


def test_the_command_has_what_trl_tells_its_users_to_start() -> None:
    import trl.generation.vllm_client as client

    shown = re.search(
        r"\$ (VLLM_SERVER_DEV_MODE=1 vllm serve.*?)\n\s+\.\.\.", inspect.getdoc(client.VLLMClient) or "", re.S
    )
    assert shown, "TRL's docstring no longer shows the command"
    variable, *command = shlex.split(shown[1].replace("\\\n", " "))
    ours = shlex.split(str(Server(MODEL, 1536, "bfloat16")))
    assert variable in ours
    assert command[:2] == ours[1:3] == ["vllm", "serve"]
    assert options(command).items() <= options(ours).items()


def test_the_command_has_what_trls_own_launcher_imposes() -> None:
    from trl.scripts.vllm_serve import ScriptArguments, build_command

    imposed = options(build_command(ScriptArguments(model=MODEL, max_model_len=1536)))
    del imposed["--model-impl"], imposed["--kv-cache-dtype"]  # vLLM's own defaults
    del imposed["--uvicorn-log-level"], imposed["--data-parallel-size"]
    imposed.pop("--enable-scale-out", None)  # images only
    imposed["--dtype"] = "bfloat16"  # not auto, which is the checkpoint's and not the trainer's
    imposed["--host"] = "127.0.0.1"  # not 0.0.0.0: whoever reaches it can replace the weights
    assert options(Server(MODEL, 1536, "bfloat16").command()).items() == imposed.items()


def test_the_client_still_asks_for_the_endpoints_that_are_looked_at() -> None:
    import trl.generation.vllm_client as client

    source = inspect.getsource(client)
    for path in ("/health", "/get_world_size", "/v1/models"):
        assert "{self.base_url}" + path in source
    assert 'device.type != "cuda"' in source  # why a CPU is refused
    from trl import GRPOConfig  # pyright: ignore[reportPrivateImportUsage]

    fields = GRPOConfig.__dataclass_fields__
    assert (fields["vllm_server_host"].default, fields["vllm_server_port"].default) == (
        vllm_server.HOST,
        vllm_server.PORT,
    )
    assert fields["vllm_mode"].default == "colocate"
    assert fields["vllm_server_base_url"].default is None


class Answers(ThreadingHTTPServer):
    """What a vLLM server answers to the three questions; a path that is not there is a 404."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: dict[str, Any] = {
            "/health": None,
            "/get_world_size": {"world_size": 1},
            "/v1/models": {"data": [{"id": MODEL, "root": MODEL, "max_model_len": 1536}]},
        }


class Handler(BaseHTTPRequestHandler):
    server: Answers  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        known = self.path in self.server.paths
        value = self.server.paths.get(self.path)
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Answers]:
    answers = Answers()
    threading.Thread(target=answers.serve_forever, daemon=True).start()
    yield answers
    answers.shutdown()


def settings(port: int, *more: str) -> tuple[ModelSettings, Lengths, dict[str, Any]]:
    given = ["--vllm_mode", "server", "--load_in_4bit", "false", "--grpo.vllm_server_port", str(port), *more]
    parsed = parse(GrpoSettings, ["--model", MODEL, *given])
    return parsed.model, parsed.lengths, parsed.grpo


def test_a_server_that_fits_the_run_is_taken(server: Answers) -> None:
    check(*settings(server.server_port), CARDS[0])
    check(*settings(9, "--grpo.vllm_server_base_url", f"http://127.0.0.1:{server.server_port}/"), CARDS[0])


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        ("/get_world_size", ..., "takes no weights (HTTP 404)"),  # started without VLLM_SERVER_DEV_MODE=1
        ("/v1/models", {"data": [{"id": "Qwen/Qwen3-0.6B"}]}, f"serves Qwen/Qwen3-0.6B; wanted {MODEL}"),
        ("/v1/models", {"data": [{"id": MODEL, "max_model_len": 1024}]}, "takes 1024 tokens; wanted 1536"),
        ("/health", ..., "no vLLM server at"),
    ],
)
def test_a_server_of_another_kind_is_refused_with_the_command(
    server: Answers, path: str, answer: Any, said: str
) -> None:
    if answer is ...:
        del server.paths[path]
    else:
        server.paths[path] = answer
    with pytest.raises(BackendError) as caught:
        check(*settings(server.server_port), CARDS[0])
    assert said in str(caught.value)
    assert str(Server(MODEL, 1536, "bfloat16", port=server.server_port)) in str(caught.value)


def test_no_server_is_found_out_at_once_with_the_command() -> None:
    with pytest.raises(
        BackendError, match=r"no vLLM server at http://0.0.0.0:9 \(.*refused\); start it with: VLLM_"
    ) as caught:
        check(*settings(9), CARDS[0])
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("more", "on_gpu", "kind", "said"),
    [
        ((), False, BackendError, "without a CUDA device"),
        (("--load_in_4bit", "true"), True, SettingsError, "16-bit weights to send; --load_in_4bit false"),
        (("--use_vllm", "false"), True, SettingsError, "with --use_vllm false"),
    ],
)
def test_settings_that_a_server_cannot_serve_are_refused_before_it_is_asked(
    more: tuple[str, ...], on_gpu: bool, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        check(*settings(9, *more), CARDS[0] if on_gpu else None)


def test_the_command_takes_model_length_and_cards_of_the_run() -> None:
    run = parse(GrpoSettings, ["--model", MODEL, "--max_prompt_length", "300", "--max_completion_length", "200"])
    server = server_for(Serve(), run, CARDS)
    assert (server.model, server.max_model_len, server.cards, server.tensor_parallel_size) == (MODEL, 500, "1", 1)
    assert str(server).startswith("CUDA_VISIBLE_DEVICES=1 VLLM_SERVER_DEV_MODE=1 vllm serve")
    assert recipe_command(Serve(), CARDS, server).startswith("CUDA_VISIBLE_DEVICES=0 python recipes/gsm8k_r1.py")
    both = server_for(Serve(gpu="2,3", port=8001), run, CARDS)
    assert (both.tensor_parallel_size, both.cards) == (2, "2,3")
    assert recipe_command(Serve(config="24gb"), [], both).endswith("--config 24gb --grpo.vllm_server_port 8001")
    alone = server_for(Serve(), run, [])
    assert (server.dtype, alone.dtype, alone.cards) == ("bfloat16", "float32", None)
    assert Serve().port == PORT, "the flag's default is spelled out, so that --help loads no engine"
    with pytest.raises(SettingsError, match="--gpu_memory_utilization is 2"):
        server_for(Serve(gpu_memory_utilization=2.0), run, [])
