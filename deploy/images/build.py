"""Builds the images a fresh node needs, into the data directory; builds nothing twice.

`python -m deploy.images.build DIRECTORY` does the same by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.images import pause, web
from deploy.images.archive import Image, fingerprint, write

IMAGES: dict[str, Callable[[], Image]] = {"pause": pause.image, "web": web.image}
"""What to build; the pause image first, since no pod starts without it."""


def archives(directory: Path) -> list[Path]:
    """Return the archives of all images in `directory`, built where missing or out of date.

    Raises:
        ImageUnavailable: a Debian package is missing; the message names it.
    """
    found = []
    for name, make in IMAGES.items():
        image = make()
        path = directory / f"{name}-{fingerprint(image)}.tar"
        if not path.exists():
            write(image, path)
            for older in directory.glob(f"{name}-*.tar"):
                if older != path:
                    older.unlink()
        found.append(path)
    return found


if __name__ == "__main__":
    for archive in archives(Path(sys.argv[1])):
        print(archive)
