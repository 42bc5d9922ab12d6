"""vLLM as a server on cards of its own: the command that TRL 1.15 wants it started with, and whether it is there.

TRL samples over HTTP and sends the merged weights over NCCL after each step, so the trainer needs a CUDA device, too.
Command and endpoints are held against the installed TRL and vLLM by tests, and a server on a CPU has answered TRL's
client. Weights have not been sent to one on a card yet.
"""

from __future__ import annotations

import json
import os
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.backends.shared import dtype_name
from toolkit.errors import BackendError, SettingsError
from toolkit.machine.devices import Gpu
from toolkit.models import embedded
from toolkit.settings import Lengths, ModelSettings

MODE = "server"
HOST, PORT = "0.0.0.0", 8000  # noqa: S104  # TRL's defaults for `vllm_server_host` and `_port`
TIMEOUT_S = 5
DEV_MODE = "VLLM_SERVER_DEV_MODE"  # without it vLLM has no endpoint that takes weights

# What TRL's client relies on (the docstring of `trl.generation.vllm_client.VLLMClient`): a way in for the weights, and
# log-probabilities after the temperature, which its importance sampling correction compares with the trainer's
WANTED_BY_TRL = (
    *("--weight-transfer-config", '{"backend": "nccl"}'),
    *("--logprobs-mode", "processed_logprobs"),
    *("--max-logprobs", "-1"),
)


@dataclass(frozen=True)
class Server:
    """A vLLM server for one base model."""

    model: str
    """Hub id or folder."""
    max_model_len: int
    """Longest prompt and completion together, in tokens."""
    dtype: str
    """What the trainer computes in. Left to itself vLLM takes the checkpoint's type, and bfloat16 for a float32 one."""
    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it can replace the weights, so no other machine does by default."""
    port: int = PORT
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    cards: str | None = None
    """What CUDA_VISIBLE_DEVICES says to it; None leaves that as it is."""

    def variables(self) -> dict[str, str]:
        """The environment variables that the command needs."""
        return ({"CUDA_VISIBLE_DEVICES": self.cards} if self.cards else {}) | {DEV_MODE: "1"}

    def command(self) -> list[str]:
        """The words of the command."""
        return [
            *("vllm", "serve", self.model),
            *("--host", self.host),
            *("--port", str(self.port)),
            *("--max-model-len", str(self.max_model_len)),
            *("--dtype", self.dtype),
            *("--gpu-memory-utilization", str(self.gpu_memory_utilization)),
            *("--tensor-parallel-size", str(self.tensor_parallel_size)),
            *WANTED_BY_TRL,
        ]

    def __str__(self) -> str:
        """The command with its variables, as it would be typed."""
        assignments = [f"{name}={shlex.quote(value)}" for name, value in self.variables().items()]
        return " ".join([*assignments, shlex.join(self.command())])


def name_for(model: str) -> str:
    """What vLLM is given for a `--model`: a Hub id as it is, a folder from any working directory."""
    if model == embedded.NAME:
        return str(embedded.folder())
    path = os.path.expanduser(model)
    return str(Path(path).resolve()) if os.path.exists(path) else model


def address(grpo: Mapping[str, Any]) -> str:
    """Where TRL's client looks for the server: `--grpo.vllm_server_base_url`, or `_host` and `_port`."""
    if grpo.get("vllm_server_base_url"):
        return grpo["vllm_server_base_url"].rstrip("/")
    return f"http://{grpo.get('vllm_server_host', HOST)}:{grpo.get('vllm_server_port', PORT)}"


def check(model: ModelSettings, lengths: Lengths, grpo: Mapping[str, Any], gpu: Gpu | None) -> None:
    """Where rollouts come from a server, find out before anything loads whether it can be used; TRL waits minutes.

    `grpo`: fields of GRPOConfig that were given; `gpu`: the card that trains.

    Raises:
        SettingsError: settings that a server cannot serve.
        BackendError: no CUDA device for the weights, no server, or one of another kind or for another model.
    """
    if model.vllm_mode != MODE:
        return
    asked = f"--vllm_mode {MODE}"
    if model.use_vllm is False:
        raise SettingsError(f"{asked} with --use_vllm false", "one of the two", "drop one")
    if gpu is None:
        raise BackendError(f"{asked} without a CUDA device", "one, since weights go over NCCL", "drop --vllm_mode")
    if model.load_in_4bit:
        # TRL merges into the packed 4-bit weights and would send their bytes under the names of 16-bit ones
        raise SettingsError(f"{asked} with --load_in_4bit true", "16-bit weights to send", "--load_in_4bit false")
    url, length, source = address(grpo), lengths.total, name_for(model.model)
    remedy = f"start it with: {Server(source, length, dtype_name(gpu), port=_port(url))}"
    _ask(f"{url}/health", f"no vLLM server at {url}", remedy)
    _ask(f"{url}/get_world_size", f"the vLLM server at {url} takes no weights", remedy)
    served = _ask(f"{url}/v1/models", f"the vLLM server at {url} names no model", remedy)["data"][0]
    if source not in (served["id"], served.get("root")):
        raise BackendError(f"the vLLM server at {url} serves {served['id']}", source, remedy)
    if (served.get("max_model_len") or length) < length:
        found = f"the vLLM server at {url} takes {served['max_model_len']} tokens"
        raise BackendError(found, f"{length}, max_prompt_length + max_completion_length", remedy)


def _ask(url: str, found: str, remedy: str) -> Any:
    """The JSON that `url` answers with, None for an empty answer; a BackendError where it refuses or is silent."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310  # an address that the user gave
            text = answer.read()
        return json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        why = f"HTTP {error.code}"
    except urllib.error.URLError as error:
        why = str(error.reason)
    except (OSError, ValueError) as error:
        why = str(error) or type(error).__name__
    raise BackendError(f"{found} ({why})", "", remedy)


def _port(url: str) -> int:
    port = url.rpartition(":")[2].partition("/")[0]
    return int(port) if port.isdigit() else PORT
