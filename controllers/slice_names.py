"""Names of EndpointSlices, from what they are for: a repeated create meets AlreadyExists rather than making a twin."""

from __future__ import annotations

from typing import Final

_PREFIX_MAX: Final = 58
"""What the API server keeps of metadata.generateName."""
_NAME_MAX: Final = 253


def slice_prefix(service: str) -> str:
    """Return what names of a Service's slices start with, as their metadata.generateName says."""
    return f"{service}-" if len(service) < _NAME_MAX else service


def slice_name(service: str, seed: str) -> str:
    """Return what the API server would make of `slice_prefix`, with five letters that follow from `seed`."""
    value = 0x811C9DC5
    for byte in seed.encode():  # FNV-1a
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    letters = ""
    for _ in range(5):
        value, digit = divmod(value, 27)
        letters += "bcdfghjklmnpqrstvwxz2456789"[digit]
    return f"{slice_prefix(service)[:_PREFIX_MAX]}{letters}"
