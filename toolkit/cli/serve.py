"""`toolkit serve`: start vLLM as the server that `--vllm_mode server` samples from, or print the command."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import BackendError, SettingsError

if TYPE_CHECKING:
    from toolkit.backends.vllm_server import Server
    from toolkit.machine.devices import Gpu
    from toolkit.settings import GrpoSettings

RECIPES = Path(__file__).parents[2] / "recipes"


@dataclass(frozen=True)
class Serve:
    """Start vLLM as the server that --vllm_mode server samples from, with the settings that TRL wants of it.

    What is not said is taken from the preset or the config of the run.
    """

    model: str | None = None
    """Hub id or folder of the base model that the recipe trains; `embedded` is the tiny Qwen3 of the toolkit."""
    config: str | None = None
    """YAML file with the run's settings, or the name of one in recipes/configs."""
    gpu: str | None = None
    """Cards of the server, for example 1 or 2,3; None: the last one, where several are visible."""
    max_model_len: int | None = None
    """Longest prompt and completion together, in tokens; None: max_prompt_length + max_completion_length of the run."""
    gpu_memory_utilization: float = 0.9
    """Share of its cards that vLLM may take, 0 to 1."""
    tensor_parallel_size: int | None = None
    """Cards that one copy of the model is split over; None: all of --gpu."""
    host: str = "127.0.0.1"
    """Address to listen on. Whoever reaches it can replace the weights."""
    port: int = 8000
    """Port to listen on; another than TRL's default goes to the recipe as --grpo.vllm_server_port."""
    print: bool = False
    """Print the command instead of running it."""

    def run(self) -> int:
        """Print the command and return 0, or become vLLM.

        Raises:
            SettingsError: a config that is not there, or a share of the card that is none.
            BackendError: vllm is not installed.
        """
        from toolkit.compat.versions import GPU_LINE
        from toolkit.display.console import say
        from toolkit.machine.devices import find_gpus

        visible, why_no_gpu = find_gpus()
        server = server_for(self, run_settings(self, visible, why_no_gpu), visible)
        if self.print:
            print(server)
            print(f"# then: {recipe_command(self, visible, server)}")
            return 0
        folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
        executable = shutil.which("vllm", path=os.pathsep.join(folders))
        if executable is None:
            raise BackendError("vllm is not installed", GPU_LINE, "or see the command: toolkit serve --print")
        say(str(server))
        sys.stdout.flush()
        os.execve(executable, server.command(), os.environ | server.variables())  # noqa: S606  # no shell is wanted


def run_settings(flags: Serve, visible: list[Gpu], why_no_gpu: str) -> GrpoSettings:
    """What a recipe would run with on this machine under the same `--model` and `--config`."""
    from toolkit.launch.presets import choose_presets
    from toolkit.settings import GrpoSettings, ModelSettings, RecordSettings
    from toolkit.settings.parse import parse

    given = ["--model", flags.model] if flags.model else []
    asked = GrpoSettings(
        model=ModelSettings(model=flags.model) if flags.model else ModelSettings(),
        record=RecordSettings(config=flags.config),
    )
    presets, _ = choose_presets(asked, {"model"} if given else set(), visible, why_no_gpu, RECIPES / "configs")
    return parse(GrpoSettings, given, presets)


def server_for(flags: Serve, settings: GrpoSettings, visible: list[Gpu]) -> Server:
    """The server for a run's settings.

    Raises:
        SettingsError: a share of the card that is none.
    """
    from toolkit.backends.base import dtype_name
    from toolkit.backends.vllm_server import Server, name_for

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


def recipe_command(flags: Serve, visible: list[Gpu], server: Server) -> str:
    """How a recipe is started beside the server: on the other cards, in 16 bit, with the same model."""
    from toolkit.backends.vllm_server import MODE, PORT

    others = [gpu.visible_as for gpu in visible if gpu.visible_as not in (server.cards or "").split(",")]
    cards = f"CUDA_VISIBLE_DEVICES={','.join(others)} " if server.cards and others else ""
    words = ["python", "recipes/gsm8k_r1.py", "--vllm_mode", MODE, "--load_in_4bit", "false"]
    for name in ("config", "model"):
        value = getattr(flags, name)
        words += [f"--{name}", value] if value else []
    words += ["--grpo.vllm_server_port", str(server.port)] if server.port != PORT else []
    return cards + shlex.join(words)
