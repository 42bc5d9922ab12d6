"""A seccomp filter: which system calls the code may not make. Linux on x86_64 and aarch64.

A list of what is refused rather than of what is allowed: the standard library of every Python release calls what it
likes. What the list is for: the parts of the kernel where its holes have been (namespaces, mounts, tracing, bpf, keys,
io_uring), and, where the host's processes and network are in reach, all ways to them.
"""

from __future__ import annotations

import errno
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
NEWEST = 451
"""Later system calls answer ENOSYS, so that a newer kernel brings no new way round (fchmodat2 is 452)."""

# name: (x86_64, aarch64); None where the machine has no such call
KERNEL: dict[str, tuple[int | None, int]] = {
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "mount_setattr": (442, 442), "move_mount": (429, 429), "open_tree": (428, 428),
    "fsopen": (430, 430), "fsmount": (432, 432), "fsconfig": (431, 431), "fspick": (433, 433),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_getfd": (438, 438), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "io_uring_setup": (425, 425), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # Memory that no limit of a process counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
SHARED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199),
    "clone": (56, 220), "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "setpriority": (141, 140), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # What Landlock leaves open: the attributes of files that are not to be read
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None), "utimensat": (280, 88),
    "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "truncate": (76, 45),
}  # fmt: skip
SOCKET, CLONE, CLONE3, PRLIMIT64 = (41, 198), (56, 220), (435, 435), (302, 261)
PIVOT_ROOT = dict(zip(ARCHITECTURES, (155, 41), strict=True))

_UNIX, _IPV4, _IPV6 = 1, 2, 10
"""Kinds of sockets that a network namespace holds in; AF_VSOCK, out of a virtual machine, is none of them."""
_NEW_NAMESPACE = 0x7E020000  # every CLONE_NEW* flag that clone takes
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def build(machine: str, with_shared: bool) -> bytes:
    """The filter as classic BPF.

    Args:
        machine: what `platform.machine` says, a key of `ARCHITECTURES`.
        with_shared: also refuse what reaches the host's network and processes, and new processes and threads: for
            levels without namespaces.
    """
    column = list(ARCHITECTURES).index(machine)
    refused = [numbers[column] for numbers in (KERNEL | SHARED if with_shared else KERNEL).values()]
    no, unknown = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    code = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_EQUAL, 1, 0, ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    code += [(_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, NEWEST + 1), (_RETURN, 0, 0, unknown)]
    # Its flags are in memory, where a filter cannot look; without it the C library takes clone
    code += [(_EQUAL, 0, 1, CLONE3[column]), (_RETURN, 0, 0, unknown)]
    for number in refused:
        if number is not None:
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, no)]
    # Its own limits only: the supervisor's are in reach even in a process namespace
    code += [(_EQUAL, 0, 3, PRLIMIT64[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
    code += [(_EQUAL, 1, 0, 0), (_RETURN, 0, 0, no), (_LOAD, 0, 0, _NUMBER_AT)]
    if not with_shared:
        code += [(_EQUAL, 0, 5, SOCKET[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
        code += [(_EQUAL, 3, 0, _UNIX), (_EQUAL, 2, 0, _IPV4), (_EQUAL, 1, 0, _IPV6), (_RETURN, 0, 0, no)]
        code += [(_LOAD, 0, 0, _NUMBER_AT)]
        code += [(_EQUAL, 0, 3, CLONE[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
        code += [(_ANY_BIT, 0, 1, _NEW_NAMESPACE), (_RETURN, 0, 0, no)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
