"""Calls of the C library, and the filter that takes dangerous ones away from a program."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
PDEATHSIG, SECCOMP, SUBREAPER, NO_NEW_PRIVS = 1, 22, 36, 38
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_MACHINES = {"x86_64": 0, "aarch64": 1}
_ARCHES = (0xC000003E, 0xC00000B7)
_CALLS = {  # numbers on x86_64 and aarch64
    "add_key": (248, 217), "bpf": (321, 280), "clone": (56, 220), "clone3": (435, 435),
    "fsopen": (430, 430), "io_uring_setup": (425, 425), "keyctl": (250, 219),
    "memfd_create": (319, 279), "mount": (165, 40), "mount_setattr": (442, 442),
    "move_mount": (429, 429), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "pivot_root": (155, 41), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "request_key": (249, 218),
    "setns": (308, 268), "shmget": (29, 194), "socket": (41, 198), "umount2": (166, 39),
    "unshare": (272, 97), "userfaultfd": (323, 282),
}  # fmt: skip
_JUDGED_APART = ("clone", "clone3", "socket")
_AF_UNIX = 1

libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """The kernel does not allow a step without which the program must not run."""


def check(result: int, what: str) -> None:
    """Raise Refused where a call of the C library failed."""
    if result < 0:
        raise Refused(f"{what}: {os.strerror(ctypes.get_errno())}")


def prctl(option: int, value: int, what: str) -> None:
    """Change one property of this process. Raises Refused where the kernel does not."""
    check(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), what)


def number(name: str) -> int:
    """Return a system call's number on this machine."""
    return _CALLS[name][_machine()]


def _machine() -> int:
    name = os.uname().machine
    if name not in _MACHINES:
        raise Refused(f"no list of system calls for {name}; x86_64 and aarch64 are known")
    return _MACHINES[name]


def filter_calls() -> None:
    """Take away, for good and from all children too, what no honest solution needs.

    New namespaces and mounts, tracing of other processes, keys, kernel programs, memory that no
    limit counts, and every socket but those between processes (AF_UNIX): network, and the
    virtual sockets to a VM's host, which no network namespace covers.
    """
    program = b"".join(struct.pack("HBBI", *step) for step in _steps())
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    given = Program(len(program) // 8, ctypes.addressof(code))
    check(libc.prctl(SECCOMP, ctypes.c_ulong(2), ctypes.byref(given), 0, 0), "filter of calls")


def _steps() -> list[tuple[int, int, int, int]]:
    """Return the filter as (code, steps to skip if true, if false, value)."""

    def denied(error: int) -> tuple[int, int, int, int]:
        return (_RETURN, 0, 0, _ERRNO | error)

    steps = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _ARCHES[_machine()]), denied(errno.EPERM)]
    # Numbers above 2**30 are those of x32, another way to call the same.
    steps += [(_LOAD, 0, 0, _NUMBER), (_ABOVE, 0, 1, 1 << 30), denied(errno.EPERM)]
    for name in sorted(set(_CALLS) - set(_JUDGED_APART)):
        steps += [(_EQUAL, 0, 1, number(name)), denied(errno.EPERM)]
    # The flags of clone3 are out of sight; without it the C library takes clone.
    steps += [(_EQUAL, 0, 1, number("clone3")), denied(errno.ENOSYS)]
    steps += [(_EQUAL, 0, 4, number("clone")), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    new = NEWNS | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
    steps += [(_ANY_BIT, 0, 1, new), denied(errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    steps += [(_EQUAL, 0, 3, number("socket")), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    steps += [(_EQUAL, 1, 0, _AF_UNIX), denied(errno.EACCES)]
    return [*steps, (_RETURN, 0, 0, _ALLOW)]
