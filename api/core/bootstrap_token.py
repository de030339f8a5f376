"""Secrets of type bootstrap.kubernetes.io/token: what a machine shows that wants to join. Read by several processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from api import timestamps
from api.core.secret import Secret

NAMESPACE: Final = "kube-system"
NAME_PREFIX: Final = "bootstrap-token-"
TYPE: Final = "bootstrap.kubernetes.io/token"


def data_of(secret: Secret) -> dict[str, str]:
    """Return the Secret's data as text."""
    return {name: value.decode(errors="replace") for name, value in secret.data.items()}


def is_expired(data: Mapping[str, str], now_s: float) -> bool:
    """Whether a token's time is over; one whose end cannot be read is over, one that has none is not."""
    text = data.get("expiration", "")
    if not text:
        return False
    try:
        return timestamps.parse(text) <= now_s
    except ValueError:
        return True
