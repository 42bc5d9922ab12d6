"""Into the sandbox: a root folder without the host, other namespaces, no privileges, limits. One-way, all of it."""

from __future__ import annotations

import os
import resource
import sys

import filters
import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing takes as long as half a start of the interpreter
    from typing import Any

NAMESPACES = (
    kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWCGROUP
)  # fmt: skip
_BASE = "/tmp"  # noqa: S108  (any folder that is everywhere: the new root is mounted over it, out of the host's sight)
_OLD = "/old"
_MAX_FILES = 4096  # in the private folder: each costs the kernel about a KiB that no other limit counts


def leave_host(job: dict[str, Any]) -> int:
    """Become a process of new namespaces, with a root that holds only `job["readable"]`; returns in two processes.

    Returns:
        0 in the first process of the new namespaces, with whose end all others in there end; its process id in the
        process that entered, which has nothing left to do but wait for it.
    """
    root_user = os.geteuid() == 0
    outside = (os.getuid(), os.getgid())
    kernel.unshare(NAMESPACES if root_user else NAMESPACES | kernel.CLONE_NEWUSER)
    if not root_user:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"65534 {outside[0]} 1"),
            ("gid_map", f"65534 {outside[1]} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _BASE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=1m,mode=755")
    os.mkdir(_BASE + _OLD)
    kernel.pivot_root(filters.PIVOT_ROOT[os.uname().machine], _BASE, _BASE + _OLD)
    os.chdir("/")
    for path in job["readable"]:
        _show(path)
    os.mkdir("/tmp")  # noqa: S108
    kernel.unmount(_OLD)
    os.rmdir(_OLD)
    kernel.restrict_mounts("/", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV)
    return os.fork()


def _show(path: str) -> None:
    """Bind a file or folder of the old root at its own place in the new one; a link becomes the same link."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    old = _OLD + path
    if os.path.islink(old):
        os.symlink(os.readlink(old), path)
    else:
        if os.path.isdir(old):
            os.makedirs(path, exist_ok=True)
        else:
            os.close(os.open(path, os.O_CREAT, 0o644))
        kernel.mount(old, path, flags=kernel.MS_BIND | kernel.MS_REC)


def mount_private_folder(disk_mib: int, user: int) -> None:
    """An empty /tmp in memory, of limited size; `user` 0 keeps the present owner."""
    owner = f",uid={user},gid={user}" if user else ""
    options = f"size={disk_mib}m,nr_inodes={_MAX_FILES},mode=700{owner}"
    kernel.mount("tmpfs", "/tmp", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)  # noqa: S108


def drop_privileges(user: int) -> None:
    """Become `user` (0: stay), without capabilities, unreadable to others, and killed when the parent is."""
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()
    kernel.hide_memory()
    kernel.die_with_parent()


def confine(job: dict[str, Any]) -> None:
    """The last step, in the process that gets the code: limits, and the filters that hold for all its children."""
    kernel.die_with_parent()
    limits, mib = job["limits"], 2**20
    values = {
        resource.RLIMIT_AS: limits["memory_mib"] * mib,
        resource.RLIMIT_FSIZE: limits["file_mib"] * mib,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_STACK: min(limits["memory_mib"] * mib // 4, 64 * mib),
    }
    if job["namespaces"]:  # else the filter refuses every new process, and the user's own would be counted
        values[resource.RLIMIT_NPROC] = limits["processes"] + job["own_processes"]
    for what, value in values.items():
        resource.setrlimit(what, (value, value))
    # The soft limit's signal can be ignored; the hard one kills
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 1))
    if job["landlock"]:
        kernel.restrict_files(job["readable"], os.getcwd())
    kernel.install_filter(filters.build(os.uname().machine, with_shared=not job["namespaces"]))


def forget(folder: str) -> None:
    """Leave no trace of this package's folder and of the environment to the code."""
    if folder in sys.path:
        sys.path.remove(folder)
    os.environ.clear()
