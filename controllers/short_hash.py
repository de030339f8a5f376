"""Short names of contents, as they stand in the names of ReplicaSets, pods and ControllerRevisions."""

from __future__ import annotations

# No vowels and no digits that look like them: a name must not spell a word. Part of how names of pods look.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def short_hash(content: bytes, collision_count: int = 0) -> str:
    """Return the short name of `content`; `collision_count` gives another one if a name was taken."""
    if collision_count:
        content += collision_count.to_bytes(8, "little")
    value = 0x811C9DC5
    for byte in content:  # FNV-1a
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return "".join(_ALPHABET[ord(digit) % len(_ALPHABET)] for digit in str(value))
