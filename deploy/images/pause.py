"""The pause program: the process that holds a pod's namespaces open, as an ELF file of some 200 bytes.

It is assembled here, instruction by instruction, so that the image needs no compiler and is the same on every machine.
What it does, in C:

    sigaction(SIGCHLD, {SIG_IGN});              // the kernel reaps orphans that a shared pid namespace hands us
    sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM});  // as process 1 we get a signal only if we block or handle it
    while (sigtimedwait({SIGINT, SIGTERM}, NULL, NULL) < 0) {}   // EINTR: wait again
    exit_group(0);

`program` is pure. Machines other than x86-64 take Debian's catatonit, which has a pause mode (`-P`).
"""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

from deploy.images.archive import File, Image, ImageUnavailable, architecture

REFERENCE = "steersman.local/pause:1"

_BASE = 0x400000
_ELF_HEADER_BYTES, _PROGRAM_HEADER_BYTES = 64, 56
_CODE_OFFSET = _ELF_HEADER_BYTES + _PROGRAM_HEADER_BYTES

_SIGINT, _SIGTERM, _SIGCHLD = 2, 15, 17
_SIG_IGN, _SIG_BLOCK, _SIGSET_BYTES = 1, 0, 8
_RT_SIGACTION, _RT_SIGPROCMASK, _RT_SIGTIMEDWAIT, _EXIT_GROUP = 13, 14, 128, 231


def image() -> Image:
    """Return the pause image for this machine.

    Raises:
        ImageUnavailable: not x86-64, and catatonit is not installed.
    """
    if architecture() == "amd64":
        return Image(REFERENCE, files=[File("pause", program(), 0o755)], entrypoint=["/pause"])
    catatonit = shutil.which("catatonit")
    if catatonit is None:
        raise ImageUnavailable("the pause image needs catatonit on this machine: apt-get install catatonit")
    return Image(REFERENCE, files=[File("pause", Path(catatonit).read_bytes(), 0o755)], entrypoint=["/pause", "-P"])


def program() -> bytes:
    """Return the x86-64 ELF file."""
    # The data stands after the code, so where it stands needs the code's length: assemble twice.
    length = len(_code(data=0))
    code = _code(data=_BASE + _CODE_OFFSET + length)
    waited_for = 1 << (_SIGINT - 1) | 1 << (_SIGTERM - 1)
    # struct sigaction as the kernel has it: handler, flags, restorer, mask.
    ignore = struct.pack("<QQQQ", _SIG_IGN, 0, 0, 0)
    body = code + ignore + struct.pack("<Q", waited_for)
    total = _CODE_OFFSET + len(body)
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack(
        "<HHIQQQIHHHHHH",
        2,  # an executable
        62,  # for x86-64
        1,
        _BASE + _CODE_OFFSET,  # where it starts
        _ELF_HEADER_BYTES,  # where the program header stands
        0,
        0,
        _ELF_HEADER_BYTES,
        _PROGRAM_HEADER_BYTES,
        1,
        0,
        0,
        0,
    )
    # One segment, readable and executable: the whole file at _BASE.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, total, total, 0x1000)
    return header + segment + body


def _code(data: int) -> bytes:
    ignore, waited_for = data, data + 32
    code = _call(_RT_SIGACTION, _SIGCHLD, ignore, 0, _SIGSET_BYTES)
    code += _call(_RT_SIGPROCMASK, _SIG_BLOCK, waited_for, 0, _SIGSET_BYTES)
    wait = _call(_RT_SIGTIMEDWAIT, waited_for, 0, 0, _SIGSET_BYTES)
    wait += b"\x85\xc0"  # test eax, eax
    wait += b"\x78" + struct.pack("<b", -(len(wait) + 2))  # js back to the start of `wait`
    return code + wait + _call(_EXIT_GROUP, 0)


def _call(number: int, *arguments: int) -> bytes:
    """Return a system call: arguments into edi, esi, edx, r10d, number into eax (System V ABI, Linux conventions)."""
    registers = (b"\xbf", b"\xbe", b"\xba", b"\x41\xba")
    loads = b"".join(move + struct.pack("<I", value) for move, value in zip(registers, arguments, strict=False))
    return loads + b"\xb8" + struct.pack("<I", number) + b"\x0f\x05"
