from __future__ import annotations

import ast
import logging
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = (
    "apiserver", "balancer", "client", "clusterdns", "component", "controllers", "deploy", "kubelet", "kubeproxy",
    "lab", "scheduler", "store",
)  # fmt: skip
TAKEN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
LOGS_FIELDS = re.compile(r"\bextra\s*=\s*\{")


def test_no_log_line_has_a_field_that_logging_itself_has():
    """`logging` raises KeyError for such a field, which ends the process that wanted to say something."""
    found = [
        f"{path.relative_to(ROOT)}:{key.lineno}: {key.value}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if LOGS_FIELDS.search(text := path.read_text())  # what is worth parsing
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and key.value in TAKEN
    ]
    assert not found, found
