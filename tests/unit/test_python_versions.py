"""What early releases of Python 3.11, such as Debian 12's 3.11.2, do otherwise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "api", "apiserver", "balancer", "client", "clusterdns", "component", "controllers", "deploy", "kubelet",
    "kubeproxy", "lab", "scheduler", "store",
)  # fmt: skip
EXCEPT_STAR = re.compile(r"\bexcept\s*\*")
"""What is worth parsing."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_is_raised_in_an_except_star_block(folder: str) -> None:
    """3.11.2 wraps it in an ExceptionGroup, so who waits for it by its type never sees it."""
    found = []
    texts = ((path, path.read_text()) for path in sorted((ROOT / folder).rglob("*.py")))
    for path, text in ((path, text) for path, text in texts if EXCEPT_STAR.search(text)):
        for tried in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.TryStar)):
            raised = [node for handler in tried.handlers for node in ast.walk(handler) if isinstance(node, ast.Raise)]
            found += [f"{path.relative_to(ROOT)}:{node.lineno}" for node in raised]
    assert found == []
