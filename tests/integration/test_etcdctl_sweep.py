"""Every command of etcdctl with its flags, in every form of output, on ours and on a real etcd: all of it is the same.

What differs by nature (ids, terms, sizes, times, addresses) is blanked first. Both begin empty and are asked the same
in the same order, so revisions agree. Users and roles have a file of their own (`test_store_auth.py`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.beside_etcd import beside_etcd
from tests.integration.store_process import StoreProcess
from tests.integration.test_etcdctl import Etcd

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("etcd") is None or shutil.which("etcdctl") is None, reason="etcd is not installed"),
]

FORMS = ("simple", "json", "fields", "table")
EVERYWHERE: list[str] = [
    "put a 1",
    "put a 2 --prev-kv",
    "get a",
    "get '' --prefix",
    "get '' --from-key",
    "get a --rev=2",
    "get a --rev=9999",
    "get '' --prefix --keys-only",
    "get '' --prefix --count-only",
    "get '' --prefix --limit=2",
    "get nothing",
    "get '' --prefix --hex",
    "del a --prev-kv",
    "alarm list",
    "alarm disarm",
    "defrag",
    "lease grant 0",
    "lease timetolive 1234",
    "lease revoke 1234",
    "lease keep-alive 1234 --once",
    "member list",
    "endpoint health",
    "endpoint status",
    "endpoint hashkv",
    "compaction 3",
]
"""Asked in each of FORMS."""
ONCE: list[str] = [
    *(f"put {key} {number}" for number, key in enumerate(["aa", "ab", "b", "b/1", "b/2", "é", "'z z'", "-- -d"])),
    "put",
    "put '' v",
    "put a b c",
    "put a --ignore-value",
    "put nothing --ignore-value",
    "put a q --ignore-lease",
    "put nothing q --ignore-lease",
    "put k v --lease=zz",
    "put k v --lease=1234",
    *(
        f"get '' --prefix --sort-by={by} --order={order}"
        for by in ("CREATE", "KEY", "MODIFY", "VALUE", "nonsense")
        for order in ("ASCEND", "DESCEND", "nonsense")
    ),
    *(f"get a --consistency={kind}" for kind in ("l", "s", "x")),
    "get a d",
    "get a --print-value-only",
    "get a --prefix --from-key",
    "get",
    "get ''",
    "get a --rev=-1",
    "get '' --prefix --limit=-3",
    "del nothing",
    "del b b0 --prev-kv",
    "del a --prefix",
    "del",
    "del ''",
    "compaction 3",
    "compaction 5 --physical",
    "compaction 99999",
    "compaction 0",
    "compaction x",
    "endpoint health --cluster",
    "endpoint hashkv --rev=3",
    "endpoint hashkv --rev=99999",
    "lease grant x",
    "lease grant -- -5",
    "lease grant 9000000001",
    "lease revoke",
    "lease timetolive zz",
    "lease keep-alive zz",
    "lock l echo held",
    "lock l false",
    "lock",
    "elect e",
    "member add x",
    "member add x --peer-urls=nonsense",
    "member remove 1234",
    "member remove zz",
    "member update 1234 --peer-urls=https://127.0.0.1:18699",
    "member promote 1234",
    "move-leader 1234",
    "move-leader zz",
    "watch",
    "snapshot save",
    "version",
    "nonsense",
]
TXNS = [
    'ver("t") = "0"\n\nput t 1\nget t\n\nget t\n\n',
    'val("t") = "1"\n\nput t 2\ndel nothing\n\nput t never\n\n',
    'create("u") < "2"\nval("t") != "x"\n\nput t never\n\nget u\n\n',
    'lease("t") = "0"\n\nget "" --prefix\n\n\n',
    "\nput x y\nput x z\n\n\n",
]
_BLANKS = [
    (r"https?://127\.0\.0\.1:\d+|127\.0\.0\.1:\d+", "URL"),
    (r'^\{"level":.*\n?', ""),
    (r'("(?:cluster_id|member_id|raft_term|ID|id|leader|raftTerm|raft\w*Index|dbSize\w*|hash|lease)":)\d+', r"\1N"),
    (r'("(?:ClusterID|MemberID|RaftTerm|ID|Leader|Raft\w*Index|DBSize\w*|Hash|Lease)" ?: ?)\d+', r"\1N"),
    (r"\b[0-9a-f]{14,16}\b", "ID"),
    (r"\d+(?:\.\d+)?(?:ms|µs|s)\b", "TIME"),
    (r'("version":"|"Version" : ")3[.\d]*|\b3\.4\.\d+\b', "VERSION"),
    (r"\b\d+(?:\.\d+)? kB|\| +\d{3,} +\|", "SIZE"),
    (r" +", " "),
    (r"(?:, \d+){3}, $|(?:\| \d+ ){3}\|", "TERM AND INDEXES"),
    (r"^URL, \d+$", "URL, HASH"),
    (r"-+", "-"),
]


def blanked(text: str) -> str:
    """Return what is the same whoever answers."""
    if "panic: " in text:
        return "etcdctl panics"  # and says where in its memory
    for pattern, instead in _BLANKS:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


def said(etcdctl: Callable[..., str], line: str, form: str = "simple", stdin: str | None = None) -> str:
    arguments = [part[1:-1] if part.startswith("'") else part for part in re.findall(r"'[^']*'|\S+", line)]
    forms = [] if form == "simple" else ["-w", form]
    at = arguments.index("--") if "--" in arguments else len(arguments)
    try:
        return blanked(etcdctl(*arguments[:at], *forms, *arguments[at:], stdin=stdin))
    except subprocess.CalledProcessError as error:
        return f"exit {error.returncode}: {blanked(error.stdout)}{blanked(error.stderr)}"


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[StoreProcess, Etcd]]:
    with beside_etcd(tmp_path, "--name", "it") as made:
        yield made


def test_every_command_says_what_it_says_of_an_etcd(both: tuple[StoreProcess, Etcd]):
    ours, theirs = both
    differing = []
    asked = [(line, form, None) for line in EVERYWHERE[:-1] for form in FORMS]
    asked += [("txn", form, script) for script in TXNS for form in FORMS]
    asked += [(line, "simple", None) for line in (*ONCE, EVERYWHERE[-1])]
    for line, form, stdin in asked:
        answers = [said(each.etcdctl, line, form, stdin) for each in (ours, theirs)]
        if answers[0] != answers[1]:
            differing.append(f"{line} (-w {form}):\n  ours:   {answers[0]!r}\n  theirs: {answers[1]!r}")
    assert not differing, "\n".join(differing)
