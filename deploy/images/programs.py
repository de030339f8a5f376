"""The image of our own programs that run as pods: this machine's Python, the libraries they import, and their code.

It needs no registry and no compiler: everything in it is on the machine, since `steer` runs by it. Taken are the
interpreter, its standard library without what no server imports, the distributions of DISTRIBUTIONS with those that
they require, the shared libraries that all this loads (`ldd` tells), and OUR_PACKAGES; wherever a virtual environment
or Python's own prefix lie here, they lie at the same places in the image. Bytecode goes along, so that nothing is
compiled where the root is read-only.

The tag is a digest of the content: other code is another image, and a Deployment that names it rolls. Building takes a
second or two, so archives are kept, for every cluster of the machine, by what `stat` says of each file in them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import marshal
import os
import platform
import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from deploy.images.archive import PATH, File, Image, ImageUnavailable, read_references, write

NAME = "steersman.local/steersman"
CACHE = Path("/var/cache/steersman/images")
ARCHIVES_MAX = 3
"""How many builds are kept: several checkouts may share the machine."""
OUR_PACKAGES = ("api", "client", "clusterdns", "component", "metricsserver", "proto")
"""Of which those that are no process are what `make check` lets the others import."""
PROGRAMS = {"steer-dns": "clusterdns.__main__", "steer-metrics": "metricsserver.__main__"}
DISTRIBUTIONS = (
    "dnslib", "grpcio", "msgspec", "protobuf", "PyYAML", "sortedcontainers", "uvloop",
)  # fmt: skip
"""What those programs import, of the project's dependencies."""

_PREFIX = "usr/local"
_CODE = f"{_PREFIX}/lib/steersman"
"""Where distributions and our packages lie: not every Python looks into a site-packages below its prefix."""
_NOT_SERVERS = frozenset([
    "__phello__", "antigravity.py", "curses", "dbm", "dist-packages", "distutils", "ensurepip", "idlelib", "lib2to3",
    "msilib", "pydoc.py", "pydoc_data", "site-packages", "sqlite3", "test", "tests", "this.py", "tkinter", "turtle.py",
    "turtledemo", "venv",
])  # fmt: skip
"""Of the standard library: what no server imports."""
_NOT_MODULES = re.compile(r"_?test|_?xx|_(tkinter|curses|sqlite3|gdbm|dbm|lsprof)|readline|nis\b|ossaudiodev|audioop")
"""Extension modules of the same kind, by how their file's name begins: some load libraries that nobody else does."""
_WANTED = frozenset((".py", ".so", ".pem", ""))
"""Suffixes of a distribution's files that are of use, or tell whose they are."""
_LIBRARY = re.compile(r"^\s*(?:(?P<name>\S+) => )?(?P<path>/\S+) \(0x", re.MULTILINE)


def archive(cache: Path = CACHE) -> Path:
    """Return the image's archive, built into `cache` unless it is there.

    Raises:
        ImageUnavailable: this machine's Python is not laid out as any that is known, or `ldd` is missing.
    """
    taken = sources()
    stamps = [(name, *_stamp(path)) for name, path in sorted(taken.items())]
    path = cache / f"steersman-{hashlib.sha256(repr((platform.machine(), stamps)).encode()).hexdigest()[:16]}.tar"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            path.touch()
        else:
            # A node takes 28 MB in half the time of 70; the tightest form would take seconds to make.
            write(image(taken), path, level=1)
        for half in cache.glob("steersman-*.new"):
            half.unlink()  # whoever wrote it was killed
        kept = sorted(cache.glob("steersman-*.tar"), key=lambda each: each.stat().st_mtime, reverse=True)
        for older in kept[ARCHIVES_MAX:]:
            older.unlink()
    return path


def reference(path: Path) -> str:
    """Return the name of the image in an archive that `archive` made."""
    return next(iter(read_references(path)))


def sources() -> dict[str, Path]:
    """Return the files that the image is made of, but for bytecode: place in the image to file on this machine."""
    interpreter = Path(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))
    taken = {f"{_PREFIX}/bin/{_python()}": interpreter}
    for name, path in (*_standard_library(), *_distributions(), *_ours()):
        taken[name] = path
    binaries = [path for name, path in taken.items() if path == interpreter or ".so" in Path(name).name]
    return taken | _libraries(binaries)


def image(taken: dict[str, Path]) -> Image:
    """Return the image made of these files."""
    files, digest = [], hashlib.sha256()
    for name, path in sorted(taken.items()):
        content = without_symbols(path.read_bytes())
        digest.update(f"{name}\0{len(content)}\0".encode() + hashlib.sha256(content).digest())
        is_program = path.suffix != ".py" and os.access(path, os.X_OK)
        files.append(File(name, content, 0o755 if is_program else 0o644))
        if name.endswith(".py"):
            files.append(File(_cached_name(name), bytecode(path, content, f"/{name}")))
    for program, module in PROGRAMS.items():
        text = f"#!/{_PREFIX}/bin/{_python()}\nimport sys\n\nfrom {module} import main\n\nsys.exit(main())\n"
        digest.update(text.encode())
        files.append(File(f"{_PREFIX}/bin/{program}", text.encode(), 0o755))
    users = b"root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"
    files += [File("etc/passwd", users), File("etc/group", b"root:x:0:\nnogroup:x:65534:\n")]
    return Image(
        f"{NAME}:{_version()}-{digest.hexdigest()[:12]}",
        files=files,
        links=[(f"{_PREFIX}/bin/python3", _python())],
        entrypoint=[f"/{_PREFIX}/bin/python3"],
        environment=(
            f"PATH={PATH}",
            f"LD_LIBRARY_PATH=/{_PREFIX}/lib",
            f"PYTHONHOME=/{_PREFIX}",
            f"PYTHONPATH=/{_CODE}",
            "PYTHONUTF8=1",
            "PYTHONUNBUFFERED=1",
        ),
    )


def bytecode(path: Path, source: bytes, shown_as: str) -> bytes:
    """Return a module compiled, as a file that is believed without a look at its source (PEP 552, unchecked).

    What Python has compiled already is taken as it is.
    """
    compiled = b""
    with contextlib.suppress(OSError, NotImplementedError):
        found, stat = Path(importlib.util.cache_from_source(str(path))).read_bytes(), path.stat()
        told = (int(stat.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (len(source) & 0xFFFFFFFF).to_bytes(
            4, "little"
        )
        if found[:16] == importlib.util.MAGIC_NUMBER + bytes(4) + told:
            compiled = found[16:]
    if not compiled:
        # Version 2 knows no references, which depend on what else the compiling process holds.
        compiled = marshal.dumps(compile(source, shown_as, "exec", dont_inherit=True), 2)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source) + compiled


def without_symbols(content: bytes) -> bytes:
    """Return a program or library without what only debuggers read; anything else as it is. Pure.

    A loader goes by segments alone (ELF-64, "Program Loading"): what lies behind the last one may go, and the table of
    sections.
    """
    if content[:6] != b"\x7fELF\x02\x01":
        return content
    (table,) = struct.unpack_from("<Q", content, 0x20)
    size, count = struct.unpack_from("<HH", content, 0x36)
    end = table + size * count
    for at in range(table, end, size):
        offset, _, _, in_file = struct.unpack_from("<QQQQ", content, at + 8)
        end = max(end, offset + in_file)
    shorter = bytearray(content[:end])
    struct.pack_into("<Q", shorter, 0x28, 0)
    struct.pack_into("<HHH", shorter, 0x3A, 0, 0, 0)
    return bytes(shorter)


def libraries_in(told: str) -> dict[str, str]:
    """Return the libraries that `ldd` names: place in the image to path here. Pure.

    The loader itself has to lie where programs name it; what it loads is looked for in one directory.
    """
    found = {}
    for match in _LIBRARY.finditer(told):
        name, path = match["name"], match["path"]
        found[f"{_PREFIX}/lib/{Path(name).name}" if name and not name.startswith("/") else path[1:]] = path
    return found


def _python() -> str:
    return f"python{sysconfig.get_python_version()}"


def _version() -> str:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("steersman")
    return "0"


def _cached_name(name: str) -> str:
    directory, _, module = name.rpartition("/")
    return f"{directory}/__pycache__/{module.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"


def _stamp(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def _standard_library() -> Iterator[tuple[str, Path]]:
    """Yield the standard library: its modules, and extension modules wherever they lie."""
    top = Path(sysconfig.get_path("stdlib"))
    place = f"{_PREFIX}/{sys.platlibdir}/{top.name}"
    if not (top / "os.py").is_file():
        raise ImageUnavailable(f"the image of Steersman's programs needs Python's standard library, not in {top}")
    for path in _below(top, excluding=_NOT_SERVERS | {"lib-dynload"}):
        if path.suffix == ".py" and not str(path.relative_to(top)).startswith("config-"):
            # Where Python looks for its prefix, it looks for a library directory called lib.
            yield f"{_PREFIX}/lib/{top.name}/{path.relative_to(top)}", path
    for entry in dict.fromkeys(entry for entry in sys.path if Path(entry).name == "lib-dynload"):
        for path in sorted(Path(entry).glob("*.so")):
            if not _NOT_MODULES.match(path.name):
                yield f"{place}/lib-dynload/{path.name}", path


def _distributions() -> Iterator[tuple[str, Path]]:
    """Yield the files of the distributions that are needed, those they require included."""
    wanted, seen = list(DISTRIBUTIONS), set()
    while wanted:
        name = wanted.pop()
        if _normal(name) in seen:
            continue
        seen.add(_normal(name))
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in DISTRIBUTIONS:
                raise ImageUnavailable(f"{name} is not installed beside {sys.executable}: make setup") from None
            continue  # required on other machines, or of other versions of Python
        wanted += [re.split(r"[^\w.-]", each)[0] for each in found.requires or () if "extra ==" not in each]
        if not found.files:
            raise ImageUnavailable(f"{name} does not say which files are its: pip install --force-reinstall {name}")
        for entry in found.files:
            is_ours = not {"..", "__pycache__", "tests", "test"} & set(entry.parts) and not entry.is_absolute()
            if is_ours and (entry.suffix in _WANTED or ".so" in entry.name or entry.parts[0].endswith(".dist-info")):
                yield f"{_CODE}/{entry.as_posix()}", Path(str(found.locate_file(entry)))


def _ours() -> Iterator[tuple[str, Path]]:
    root = Path(__file__).parents[2]
    for package in OUR_PACKAGES:
        for path in _below(root / package):
            if path.suffix == ".py":
                yield f"{_CODE}/{path.relative_to(root)}", path


def _below(top: Path, excluding: Iterable[str] = ()) -> Iterator[Path]:
    """Yield every file below a directory, but for bytecode."""
    left_out = {"__pycache__", *excluding}
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name not in left_out]
        yield from (Path(directory, name) for name in files if name not in left_out)


def _libraries(binaries: list[Path]) -> dict[str, Path]:
    try:
        done = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise ImageUnavailable("ldd is not installed: apt-get install libc-bin") from None
    if missing := re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE):
        raise ImageUnavailable(f"this machine's Python needs libraries that are not here: {', '.join(missing)}")
    return {name: Path(os.path.realpath(path)) for name, path in libraries_in(done.stdout).items()}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
