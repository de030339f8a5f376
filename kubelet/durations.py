"""Durations as the kubelet's events and statuses say them: in the words of Go."""

from __future__ import annotations


def as_go(seconds: float) -> str:
    """Return a duration, cut to milliseconds, as Go prints it: `39ms`, `1.5s`, `5m0s`, `1h0m2s`."""
    millis = int(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes < 60:
        return f"{minutes}m{text}" if minutes else text
    return f"{minutes // 60}h{minutes % 60}m{text}"
