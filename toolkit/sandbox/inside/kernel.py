"""System calls that Python has no function for, through ctypes. Linux on x86_64 and aarch64.

Each raises OSError with the call's name. Numbers of system calls are in `filters`.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446  # the same on both machines
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(name: str, result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return result


def _system_call(name: str, number: int, *arguments: int | bytes | None) -> int:
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(name, _libc.syscall(ctypes.c_long(number), *values))


def _prctl(name: str, *arguments: int) -> int:
    return _checked(name, _libc.prctl(*(ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:5])))


def unshare(flags: int) -> None:
    """Leave the host's namespaces of these kinds for new ones."""
    _checked("unshare", _libc.unshare(flags))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    data = [text.encode() for text in (source, target, kind, options)]
    _checked(f"mount {target}", _libc.mount(data[0], data[1], data[2], ctypes.c_ulong(flags), data[3]))


def restrict_mounts(target: str, flags: int) -> None:
    """Add MS_RDONLY, MS_NOSUID, MS_NODEV to a mount and to all below it; mount_setattr(2), Linux 5.12."""
    attributes = b"".join(value.to_bytes(8, "little") for value in (flags, 0, 0, 0))
    _system_call(
        "mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, attributes, len(attributes)
    )


def pivot_root(number: int, new: str, old: str) -> None:
    """Make `new` the root, and put the old one at `old`."""
    _system_call("pivot_root", number, new.encode(), old.encode())


def unmount(target: str) -> None:
    """umount2(2), at once, whatever is open below it."""
    _checked(f"umount {target}", _libc.umount2(target.encode(), MNT_DETACH))


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends. A change of user undoes it."""
    _prctl("prctl", _PR_SET_PDEATHSIG, 9)


def hide_memory() -> None:
    """Let no process of the same user trace this one or read its memory; children inherit it."""
    _prctl("prctl", _PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    """Give up every capability for ever, and every way to gain one by running a file."""
    _prctl("no_new_privs", _PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        try:
            _prctl("capbset", _PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one, or there is nothing to drop with
    _prctl("ambient", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = _CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4)
    _checked("capset", _libc.capset(header, bytes(24)))


def install_filter(program: bytes) -> None:
    """Filter the system calls of this process and its children; needs `drop_capabilities` first."""
    buffer = ctypes.create_string_buffer(program, len(program))

    class _Program(ctypes.Structure):
        _fields_ = (("n", ctypes.c_ushort), ("instructions", ctypes.c_void_p))

    described = _Program(len(program) // 8, ctypes.addressof(buffer))
    _prctl("seccomp", _PR_SET_SECCOMP, 2, ctypes.addressof(described))


def restrict_files(readable: list[str], writable: str) -> None:
    """Landlock: from now on open nothing but what is below `readable`, read-only, and below `writable`.

    Running files, devices and moving files out are refused everywhere. https://docs.kernel.org/userspace-api/landlock.html
    """
    version = _system_call("landlock", _LANDLOCK_CREATE, None, 0, 1)  # none before Linux 5.13, or if off at boot
    handled = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    execute, read_file, read_dir, make_char, make_block = 1 << 0, 1 << 2, 1 << 3, 1 << 6, 1 << 11
    ruleset = _system_call("landlock", _LANDLOCK_CREATE, handled.to_bytes(8, "little"), 8, 0)
    allowed = [(path, read_file | (read_dir if os.path.isdir(path) else 0)) for path in readable]
    for path, access in [*allowed, (writable, handled & ~(execute | make_char | make_block))]:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = access.to_bytes(8, "little") + folder.to_bytes(4, "little")
        _system_call("landlock", _LANDLOCK_ADD, ruleset, 1, rule, 0)
        os.close(folder)
    _system_call("landlock", _LANDLOCK_RESTRICT, ruleset, 0)
    os.close(ruleset)
