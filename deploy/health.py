"""Asking a process for its health, and how much memory it takes."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from component.serve import Identity

ANSWER_WITHIN_S = 2.0


def direct(context: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Return what opens URLs without any proxy."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def problem_of(url: str, identity: Identity | None = None) -> str | None:
    """Ask a process for its health; None when it is ready, else what it says is wrong."""
    context = None
    if url.startswith("https"):
        assert identity is not None
        context = ssl.create_default_context(cafile=str(identity.ca))
        context.load_cert_chain(identity.cert, identity.key)
    try:
        with direct(context).open(url, timeout=ANSWER_WITHIN_S):
            return None
    except urllib.error.HTTPError as error:
        lines = [line for line in error.read(4096).decode(errors="replace").splitlines() if line.startswith("[-]")]
        return "; ".join(lines) or f"answers {error.code}"
    except OSError:
        return "does not answer"


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
