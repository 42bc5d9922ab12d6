"""Every program of `sandbox_escapes/escapes.toml`, at every level that works here: no test passed, the host intact."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from toolkit import sandbox
from toolkit.sandbox import Level, Limits, levels, run_script, run_tests
from toolkit.sandbox.start import LEVELS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux only")

ESCAPES: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "sandbox_escapes" / "escapes.toml").read_text()
)
TIGHT = Limits(cpu_s=1, wall_s=1.2, memory_mib=192, processes=6, disk_mib=8, file_mib=4)
SECRET = f"secret-{random.getrandbits(64):016x}"
SHARED_MEMORY = 0x5AFE0000 + random.getrandbits(16)
CANARY = b"not to be touched"
_SET_CHILD_SUBREAPER = 36


@dataclass
class Host:
    """What an escape could reach."""

    facts: dict[str, str]
    folder: Path
    canary: Path
    victim: subprocess.Popen[bytes]
    calls: list[bytes] = field(default_factory=list)
    """What the listeners got."""


def test_the_table_is_whole() -> None:
    assert len(ESCAPES) >= 25
    assert all(set(escape) <= {"program", "tests", "cases", "files"} for escape in ESCAPES.values())


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    # Open to every user: what keeps the code away must be the sandbox, and not the owner that pytest's folders have
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-"))
    folder.chmod(0o777)
    (folder / "secret.txt").write_text(SECRET)
    canary = folder / "canary"
    canary.write_bytes(CANARY)
    canary.chmod(0o666)
    os.utime(canary, (1e9, 1e9))
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={"SANDBOX_SECRET": SECRET})
    host = Host({}, folder, canary, victim)
    libc = ctypes.CDLL(None)
    # So that what a sandbox leaves behind becomes a child of this process, where it is found
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    memory = libc.shmget(SHARED_MEMORY, 4096, 0o1666)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.callback(libc.prctl, _SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        stack.callback(libc.shmctl, memory, 0, None)
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        host.facts.update(
            SECRET_FILE=str(folder / "secret.txt"),
            HOST_FOLDER=str(folder),
            CANARY=str(canary),
            PACKAGE_FILE=sandbox.__file__,
            VICTIM=str(victim.pid),
            PARENT=str(os.getpid()),
            SHARED_MEMORY=str(SHARED_MEMORY),
            **_listen(stack, host),
        )
        yield host


def _listen(stack: contextlib.ExitStack, host: Host) -> dict[str, str]:
    """Real listeners of every kind; each records what reaches it."""
    abstract = f"toolkit-test-{random.getrandbits(64):016x}"
    path = str(host.folder / "socket")
    wanted = {
        "PORT4": (socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),  # noqa: S104  (the host's own address too)
        "PORT_UDP": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        "UNIX_SOCKET": (socket.AF_UNIX, socket.SOCK_STREAM, path),
        "ABSTRACT": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{abstract}"),
        "ABSTRACT_DATAGRAM": (socket.AF_UNIX, socket.SOCK_DGRAM, f"\0{abstract}-datagram"),
        "PORT6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
    }
    facts = {"ADDRESS": _address(), "PORT6": "1"}
    for name, (family, kind, address) in wanted.items():
        listener = stack.enter_context(socket.socket(family, kind))
        try:
            listener.bind(address)
        except OSError:
            assert name == "PORT6"  # a machine may have no IPv6
            continue
        if kind is socket.SOCK_STREAM:
            listener.listen()
        threading.Thread(target=_record, args=(listener, host.calls), daemon=True).start()
        said = listener.getsockname()
        facts[name] = str(said[1]) if isinstance(said, tuple) else os.fsdecode(said).lstrip("\0")
    Path(path).chmod(0o777)
    return facts


def _record(listener: socket.socket, calls: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # closed at the end
        while True:
            if listener.type is socket.SOCK_DGRAM:
                calls.append(listener.recv(1000))
            else:
                calls.append(listener.accept()[0].recv(1000))


def _address() -> str:
    """This machine's address on its network; loopback where it has none. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return probe.getsockname()[0]


def _escape(name: str, level: Level, host: Host) -> tuple[int, str]:
    """Tests passed, and everything that came back."""
    escape = ESCAPES[name]
    answer = str(random.randrange(10**9, 2 * 10**9))
    program = escape["program"]
    for fact, value in host.facts.items():
        program = program.replace(f"@{fact}@", value)
    if escape.get("cases"):
        runs = run_script(program, ["1\n", "2\n"], level, TIGHT)
        return sum(answer in run.stdout for run in runs), " ".join(run.stdout + run.why for run in runs)
    tests = [test.replace("@ANSWER@", answer) for test in escape.get("tests", ["assert f(2) == @ANSWER@"])]
    verdicts = run_tests(program, tests, level, TIGHT)
    assert all(verdict.passed is not None for verdict in verdicts), verdicts
    return sum(verdict.passed is True for verdict in verdicts), " ".join(verdict.why for verdict in verdicts)


@dataclass
class Outcome:
    """Of all escapes at one level."""

    results: dict[str, tuple[int, str]]
    calls: list[bytes]
    left_over: list[str]
    private_folders: list[str]


@pytest.fixture(scope="module", params=LEVELS)
def outcome(request: pytest.FixtureRequest, host: Host, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    level: Level = request.param
    if why := levels.why_not(level):
        pytest.skip(f"{level}: {why}")
    names = [name for name, escape in ESCAPES.items() if not (level == "rlimits" and escape.get("files"))]
    children = {child.pid for child in psutil.Process().children()}
    host.calls.clear()
    private = tmp_path_factory.mktemp("private")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(private))
        patch.setenv("SANDBOX_SECRET", SECRET)
        # More than there are processors: some escapes only wait
        with ThreadPoolExecutor(4) as pool:
            results = dict(zip(names, pool.map(lambda name: _escape(name, level, host), names), strict=True))
    time.sleep(0.3)  # what was left behind would call again
    left_over = [child for child in psutil.Process().children(recursive=True) if child.pid not in children]
    found = [f"{child.pid} {' '.join(child.cmdline())}" for child in left_over]
    for child in left_over:
        child.kill()
    return Outcome(results, list(host.calls), found, [path.name for path in private.iterdir()])


@pytest.mark.parametrize("name", ESCAPES)
def test_an_escape_passes_nothing_and_learns_nothing(name: str, outcome: Outcome) -> None:
    if name not in outcome.results:
        pytest.skip("the weakest level does not keep files away, which is why it is refused")
    passed, said = outcome.results[name]
    assert passed == 0, said
    assert "ESCAPED" not in said
    assert SECRET not in said


def test_no_listener_was_reached(outcome: Outcome) -> None:
    assert outcome.calls == []


def test_no_process_is_left(outcome: Outcome) -> None:
    assert outcome.left_over == []


def test_no_private_folder_is_left(outcome: Outcome) -> None:
    assert outcome.private_folders == []


def test_the_host_is_as_it_was(outcome: Outcome, host: Host) -> None:
    assert host.canary.read_bytes() == CANARY
    assert host.canary.stat().st_mtime == 1e9
    assert host.canary.stat().st_mode & 0o777 == 0o666
    assert sorted(path.name for path in host.folder.iterdir()) == ["canary", "secret.txt", "socket"]
    assert host.victim.poll() is None
    assert psutil.Process(host.victim.pid).status() != psutil.STATUS_STOPPED
    assert not (Path(os.__file__).parent / "escaped.py").exists()
