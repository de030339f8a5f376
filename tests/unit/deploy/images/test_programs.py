"""The image of our own programs: what goes in, and that what is in it is enough."""

from __future__ import annotations

import io
import json
import marshal
import os
import re
import select
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from deploy.images import programs
from deploy.images.archive import Image, write

LDD = """\
/opt/python/lib/python3.11/lib-dynload/_ssl.so:
\tlinux-vdso.so.1 (0x00007ffd0b5f2000)
\tlibssl.so.3 => /lib/x86_64-linux-gnu/libssl.so.3 (0x00007f5c3a200000)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5c39e00000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f5c3a4f3000)
/opt/venv/grpc/cygrpc.so:
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1a39e00000)
\tstatically linked
"""


@pytest.fixture(scope="module")
def taken() -> dict[str, Path]:
    return programs.sources()


@pytest.fixture(scope="module")
def built(taken: dict[str, Path]) -> Image:
    return programs.image(taken)


def layer_of(archive: Path) -> tarfile.TarFile:
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> bytes:
            found = outer.extractfile(f"blobs/sha256/{digest.partition(':')[2]}")
            assert found is not None
            return found.read()

        index = outer.extractfile("index.json")
        assert index is not None
        manifest = json.loads(blob(json.load(index)["manifests"][0]["digest"]))
        return tarfile.open(fileobj=io.BytesIO(blob(manifest["layers"][0]["digest"])))


def test_libraries_lie_in_one_directory_and_the_loader_where_programs_name_it():
    assert programs.libraries_in(LDD) == {
        "usr/local/lib/libssl.so.3": "/lib/x86_64-linux-gnu/libssl.so.3",
        "usr/local/lib/libc.so.6": "/lib/x86_64-linux-gnu/libc.so.6",
        "lib64/ld-linux-x86-64.so.2": "/lib64/ld-linux-x86-64.so.2",
    }


def test_the_programs_run_by_the_image_alone(built: Image, tmp_path: Path):
    """Every module of ours and its imports, from nowhere but the image; laid out here, since that needs no root."""
    write(built, tmp_path / "image.tar", level=0)
    root = tmp_path / "root"
    with layer_of(tmp_path / "image.tar") as layer:
        layer.extractall(root)
    interpreter = [str(root / "usr/local/bin/python3")]
    loader = next((f.path for f in built.files if Path(f.path).name.startswith("ld-linux")), None)
    if loader is not None:
        interpreter = [str(root / loader), "--library-path", str(root / "usr/local/lib"), *interpreter]
    told = dict(pair.split("=", 1) for pair in built.environment if pair.startswith("PYTHON"))
    told |= {name: f"{root}{told[name]}" for name in ("PYTHONHOME", "PYTHONPATH")}
    code = (
        "import clusterdns.__main__, metricsserver.__main__, uvloop, encodings.idna, json, sys, client.informer\n"
        "print(json.dumps([m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)]))\n"
        "print(json.dumps([m.__cached__ for m in sys.modules.values() if getattr(m, '__cached__', None)]))"
    )
    done = subprocess.run([*interpreter, "-c", code], capture_output=True, text=True, env=told, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    loaded, compiled = (json.loads(line) for line in done.stdout.splitlines())
    assert {path for path in loaded if not path.startswith(str(root))} == set()
    assert {path for path in compiled if not os.path.exists(path)} == set(), "nothing has to be compiled in a pod"


def test_the_image_is_small_and_holds_no_key_and_no_test(built: Image):
    assert sum(len(file.content) for file in built.files) < 100e6
    names = [file.path for file in built.files]
    assert len(names) == len(set(names))
    assert [name for name in names if "/test/" in name or name.endswith((".key", ".pth", "_pytest"))] == []
    assert {name.split("/")[4] for name in names if name.startswith("usr/local/lib/steersman/")} >= {"api", "grpc"}
    assert [name for name in names if "/apiserver/" in name or "/deploy/" in name] == []


def test_the_same_files_give_the_same_image_and_another_line_another(
    taken: dict[str, Path], built: Image, tmp_path: Path
):
    place = "usr/local/lib/steersman/clusterdns/records.py"
    assert programs.image(dict(reversed(list(taken.items())))).reference == built.reference
    few = [(name, taken[name]) for name in [place, *sorted(taken)[:50]]]
    images = [programs.image(dict(files)) for files in (few, reversed(few))]
    one, other = (write(each, tmp_path / "x.tar", level=1) for each in images)
    assert (images[0].reference, one) == (images[1].reference, other)
    (tmp_path / "records.py").write_text(taken[place].read_text() + "# another line\n")
    assert programs.image(taken | {place: tmp_path / "records.py"}).reference != built.reference


def test_an_archive_is_built_once_and_few_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "a.py"
    source.write_text("pass\n")
    monkeypatch.setattr(programs, "sources", lambda: {"usr/local/lib/a.py": source})
    cache = tmp_path / "cache"
    first = programs.archive(cache)
    when = first.stat().st_ino
    assert programs.archive(cache) == first and first.stat().st_ino == when
    assert programs.reference(first).startswith("steersman.local/steersman:")
    for number in range(5):
        source.write_text("pass\n" * (number + 2))
        last = programs.archive(cache)
    assert last in list(cache.glob("*.tar"))
    assert len(list(cache.glob("*.tar"))) == programs.ARCHIVES_MAX


def test_nothing_is_taken_that_only_developers_have_installed():
    project = tomllib.loads((Path(programs.__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^\w-]", each)[0] for each in project["dependencies"]}
    assert set(programs.DISTRIBUTIONS) <= needed


def test_a_module_is_compiled_where_python_has_not_done_so(tmp_path: Path):
    source = tmp_path / "a.py"
    source.write_text("x = 1\n")
    content = programs.bytecode(source, source.read_bytes(), "/a.py")
    assert content[4:8] == b"\x01\0\0\0", "believed by its hash, unchecked"
    namespace: dict[str, int] = {}
    exec(marshal.loads(content[16:]), namespace)
    assert namespace["x"] == 1


def test_a_library_without_symbols_still_loads(tmp_path: Path):
    path = getattr(select, "__file__", None)
    if path is None:
        pytest.skip("this Python has its extension modules in one piece")
    content = Path(path).read_bytes()
    shorter = programs.without_symbols(content)
    assert len(shorter) < len(content)
    assert programs.without_symbols(shorter) == shorter
    (tmp_path / Path(path).name).write_bytes(shorter)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import select; print(select.__file__); select.poll()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / Path(path).name)
    assert programs.without_symbols(b"#!/bin/sh\n") == b"#!/bin/sh\n"
