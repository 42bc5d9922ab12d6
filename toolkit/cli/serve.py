"""`toolkit serve`: start vLLM as the server that `--vllm_mode server` samples from, or print the command."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from toolkit.backends.shared import dtype_name
from toolkit.backends.vllm_server import MODE, PORT, ServeFlags, Server, name_for
from toolkit.compat.versions import GPU_LINE
from toolkit.display.console import say
from toolkit.errors import BackendError, SettingsError
from toolkit.launch.presets import choose_presets
from toolkit.machine.devices import Gpu, find_gpus
from toolkit.settings import GrpoSettings, ModelSettings, RecordSettings
from toolkit.settings.parse import parse

RECIPES = Path(__file__).parents[2] / "recipes"


def serve(flags: ServeFlags) -> int:
    """Print the command, or become it.

    Raises:
        SettingsError: a config that is not there, or a share of the card that is none.
        BackendError: vllm is not installed.
    """
    visible, why_no_gpu = find_gpus()
    settings = run_settings(flags, visible, why_no_gpu)
    server = server_for(flags, settings, visible)
    if flags.print:
        print(server)
        print(f"# then: {recipe_command(flags, visible, server)}")
        return 0
    executable = shutil.which("vllm", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if executable is None:
        raise BackendError("vllm is not installed", GPU_LINE, "or see the command: toolkit serve --print")
    say(str(server))
    sys.stdout.flush()
    os.execve(executable, server.command(), os.environ | server.variables())  # noqa: S606  # no shell is wanted


def run_settings(flags: ServeFlags, visible: list[Gpu], why_no_gpu: str) -> GrpoSettings:
    """What a recipe would run with on this machine under the same `--model` and `--config`."""
    given = ["--model", flags.model] if flags.model else []
    asked = GrpoSettings(
        model=ModelSettings(model=flags.model) if flags.model else ModelSettings(),
        record=RecordSettings(config=flags.config),
    )
    presets, _ = choose_presets(asked, {"model"} if given else set(), visible, why_no_gpu, RECIPES / "configs")
    return parse(GrpoSettings, given, presets)


def server_for(flags: ServeFlags, settings: GrpoSettings, visible: list[Gpu]) -> Server:
    """The server for a run's settings.

    Raises:
        SettingsError: a share of the card that is none.
    """
    if not 0.05 <= flags.gpu_memory_utilization <= 0.98:
        raise SettingsError(f"--gpu_memory_utilization is {flags.gpu_memory_utilization}", "a value from 0.05 to 0.98")
    cards = flags.gpu or (visible[-1].visible_as if len(visible) > 1 else None)
    return Server(
        model=name_for(settings.model.model),
        max_model_len=flags.max_model_len or settings.lengths.total,
        dtype=dtype_name(visible[0] if visible else None),
        host=flags.host,
        port=flags.port,
        gpu_memory_utilization=flags.gpu_memory_utilization,
        tensor_parallel_size=flags.tensor_parallel_size or len((cards or "0").split(",")),
        cards=cards,
    )


def recipe_command(flags: ServeFlags, visible: list[Gpu], server: Server) -> str:
    """How a recipe is started beside the server: on the other cards, in 16 bit, with the same model."""
    others = [gpu.visible_as for gpu in visible if gpu.visible_as not in (server.cards or "").split(",")]
    cards = f"CUDA_VISIBLE_DEVICES={','.join(others)} " if server.cards and others else ""
    words = ["python", "recipes/gsm8k_r1.py", "--vllm_mode", MODE, "--load_in_4bit", "false"]
    for name in ("config", "model"):
        value = getattr(flags, name)
        words += [f"--{name}", value] if value else []
    words += ["--grpo.vllm_server_port", str(server.port)] if server.port != PORT else []
    return cards + shlex.join(words)
