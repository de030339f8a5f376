"""Names of EndpointSlices, from what they are for: a repeated create meets AlreadyExists rather than making a twin."""

from __future__ import annotations


def slice_name(service: str, seed: str) -> str:
    """Return the Service's name and five letters that follow from `seed`."""
    value = 0x811C9DC5
    for byte in seed.encode():  # FNV-1a
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    letters = ""
    for _ in range(5):
        value, digit = divmod(value, 27)
        letters += "bcdfghjklmnpqrstvwxz2456789"[digit]
    return f"{service}-{letters}"
