import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from component.clock import Clock
from kubelet.image_gc import AGE_S_MIN, Held, ImageGc, bytes_to_free, select
from proto.cri import api_pb2 as pb

GIB = 1 << 30


class Watch:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Runtime:
    """Images, some with a container."""

    def __init__(self, *images: pb.Image, used: tuple[str, ...] = ()) -> None:
        self.images = {image.id: image for image in images}
        self.used = used

    async def list_images(self) -> list[pb.Image]:
        return list(self.images.values())

    async def list_containers(self, uid: str = "") -> list[pb.Container]:
        return [pb.Container(image_ref=each) for each in self.used]

    async def image_filesystems(self) -> list[pb.FilesystemUsage]:
        return [pb.FilesystemUsage(fs_id=pb.FilesystemIdentifier(mountpoint="/images"))]

    async def remove_image(self, image_id: str) -> None:
        del self.images[image_id]


def image(name: str, *, pulled: bool = True, pinned: bool = False) -> pb.Image:
    digests = [f"example.org/{name}@sha256:1"] if pulled else []
    return pb.Image(id=name, size=GIB, repo_tags=[f"{name}:1"], repo_digests=digests, pinned=pinned)


def collected(runtime: Any, available: int) -> tuple[set[str], list[str]]:
    told: list[str] = []
    clock: Clock = Watch()
    gc = ImageGc(runtime, clock, lambda reason, message: told.append(reason), lambda path: (100 * GIB, available))
    asyncio.run(gc.collect())
    return set(runtime.images), told


def test_below_the_high_mark_nothing_goes() -> None:
    assert bytes_to_free(100, 16) == 0
    assert bytes_to_free(100, 15) == 5
    assert collected(Runtime(image("a")), 16 * GIB) == ({"a"}, [])


def test_unused_images_go_but_not_what_could_not_be_pulled_again() -> None:
    runtime = Runtime(
        image("a"), image("used"), image("loaded", pulled=False), image("pin", pinned=True), used=("used",)
    )
    left, told = collected(runtime, 10 * GIB)
    assert left == {"used", "loaded", "pin"}
    assert told == ["FreeDiskSpaceFailed"]


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 400), st.integers(0, 400)), max_size=8), st.integers(0, 20))
def test_the_oldest_go_first_and_no_more_than_needed(found: list[tuple[int, int, int]], wanted: int) -> None:
    held = [Held(str(i), size, float(first), float(used)) for i, (size, first, used) in enumerate(found)]
    chosen = select(held, wanted, 500.0)
    assert all(500.0 - max(each.first_seen_s, each.last_used_s) >= AGE_S_MIN for each in chosen)
    assert [each.last_used_s for each in chosen] == sorted(each.last_used_s for each in chosen)
    if chosen:
        assert sum(each.size_bytes for each in chosen[:-1]) < wanted
