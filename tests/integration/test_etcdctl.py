"""Debian's etcdctl against a real store, command by command; and where it is cheap, against a real etcd as well."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from store.client import StoreClient
from store.mvcc.kv import Put
from tests.integration.store_process import StoreProcess
from tests.ports import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="etcdctl is not installed"),
]
needs_etcd = pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")

Ctl = Callable[..., str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path_factory.mktemp("etcdctl"), "--progress-interval", "0.3")
    process.start()
    yield process
    process.kill()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    process = StoreProcess(tmp_path)
    yield process
    process.kill()


def run_etcdctl(*arguments: str, stdin: str | None = None) -> str:
    """Run Debian's etcdctl; raises CalledProcessError with what it said."""
    environment = {**os.environ, "ETCDCTL_API": "3"}
    done = subprocess.run(
        ["etcdctl", *arguments], env=environment, input=stdin, capture_output=True, text=True, timeout=20
    )
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


class Etcd:
    """A real etcd of one member, in plaintext on loopback."""

    def __init__(self, directory: Path, restore: Path | None = None) -> None:
        self.endpoint = f"127.0.0.1:{free_port()}"
        peer = f"http://127.0.0.1:{free_port()}"
        if restore is not None:
            where = ["--name", "it", "--data-dir", str(directory / "etcd"), "--initial-cluster", f"it={peer}"]
            run_etcdctl("snapshot", "restore", str(restore), *where, "--initial-advertise-peer-urls", peer)
        arguments = [
            *("etcd", "--name", "it", "--data-dir", str(directory / "etcd"), "--log-level", "error"),
            *("--listen-client-urls", f"http://{self.endpoint}", "--advertise-client-urls", f"http://{self.endpoint}"),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"it={peer}"),
        ]
        with (directory / "etcd.log").open("wb") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        for _ in range(100):
            try:
                self.etcdctl("endpoint", "health")
                return
            except subprocess.CalledProcessError as error:
                if "user name is empty" in error.stdout + error.stderr:
                    return  # it is well, and has users
                time.sleep(0.1)
        raise AssertionError((directory / "etcd.log").read_text()[-2000:])

    def etcdctl(self, *arguments: str, stdin: str | None = None) -> str:
        return run_etcdctl(f"--endpoints=http://{self.endpoint}", *arguments, stdin=stdin)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    process = Etcd(tmp_path_factory.mktemp("real-etcd"))
    yield process
    process.stop()


@contextmanager
def background(store: StoreProcess, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run an etcdctl that does not end by itself."""
    who = store.client
    command = ["etcdctl", f"--endpoints=https://{store.endpoint}", f"--cacert={who.ca}", f"--cert={who.cert}"]
    process = subprocess.Popen(
        [*command, f"--key={who.key}", *arguments],
        env={**os.environ, "ETCDCTL_API": "3"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Read that many lines; a test's time limit ends the wait for those that never come."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def until(claim: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


# -- keys: the same script on both, and the same answers

SCRIPT: list[list[str]] = [
    ["put", "a", "1"],
    ["put", "b", "3"],
    ["put", "c", "2"],
    ["put", "a", "0", "--prev-kv"],
    ["put", "b", "--ignore-value"],
    ["get", "a"],
    ["get", "a", "--print-value-only"],
    ["get", "a", "d"],
    ["get", "", "--prefix"],
    ["get", "", "--from-key"],
    ["get", "b", "--from-key"],
    ["get", "", "--prefix", "--keys-only"],
    ["get", "", "--prefix", "--limit", "2"],
    ["get", "", "--prefix", "--order", "DESCEND"],
    ["get", "", "--prefix", "--order", "DESCEND", "--limit", "1"],
    *(
        ["get", "", "--prefix", "--sort-by", by, "--order", order, "-w", "fields"]
        for by in ("CREATE", "KEY", "MODIFY", "VALUE", "VERSION")
        for order in ("ASCEND", "DESCEND")
    ),
    ["get", "a", "--rev", "2"],
    ["get", "a", "--rev", "2", "--hex"],
    ["get", "a", "--consistency", "s"],
    ["get", "a", "--consistency", "l"],
    ["get", "a", "-w", "simple"],
    ["get", "nothing"],
    ["del", "nothing"],
    ["del", "a", "--prev-kv"],
    ["del", "b", "d", "--prev-kv"],
    ["put", "x/1", "one"],
    ["put", "x/2", "two"],
    ["del", "x/", "--prefix"],
    ["get", "", "--prefix", "-w", "fields"],
]
TXNS = [
    'ver("t") = "0"\n\nput t 1\nget t\n\nget t\n\n',
    'val("t") = "1"\n\nput t 2\ndel nothing\n\nput t never\n\n',
    'mod("t") > "1000000"\n\nput t never\n\nget t\nput u 5\n\n',
    'create("u") < "2"\nval("t") != "x"\n\nput t never\n\nget u\n\n',
    "\nget t\n\n\n",
]
FAILING: list[list[str]] = [
    ["get", "a", "--rev", "999999"],
    ["put", "never-there", "--ignore-value"],
    ["put", "k", "v", "--lease", "7f"],
    ["lease", "revoke", "7f"],
    ["compaction", "999999"],
]


def without_header(answer: str) -> str:
    """Drop what differs between clusters: their ids, terms, and where each store's counter is."""
    fields = ('"ClusterID"', '"MemberID"', '"RaftTerm"')
    return "\n".join(line for line in answer.splitlines() if not line.startswith(fields))


@needs_etcd
def test_keys_are_answered_as_etcd_answers(tmp_path: Path, etcd: Etcd, own_store: StoreProcess):
    own_store.start()
    for arguments in SCRIPT:
        ours, theirs = own_store.etcdctl(*arguments), etcd.etcdctl(*arguments)
        assert without_header(ours) == without_header(theirs), arguments
    for script in TXNS:
        assert own_store.etcdctl("txn", stdin=script) == etcd.etcdctl("txn", stdin=script), script
    for arguments in FAILING:
        said = []
        for each in (own_store, etcd):
            with pytest.raises(subprocess.CalledProcessError) as caught:
                each.etcdctl(*arguments)
            # The first line is etcdctl's log of the attempt, with addresses in it.
            said.append(caught.value.stderr.strip().splitlines()[-1])
        assert said[0] == said[1], arguments
    assert own_store.etcdctl("compaction", "5") == etcd.etcdctl("compaction", "5")
    assert own_store.etcdctl("compaction", "6", "--physical") == etcd.etcdctl("compaction", "6", "--physical")
    for each in (own_store, etcd):
        with pytest.raises(subprocess.CalledProcessError) as caught:
            each.etcdctl("compaction", "6")
        assert "required revision has been compacted" in caught.value.stderr


# -- watch


@needs_etcd
def test_watches_print_what_etcds_print(etcd: Etcd, store: StoreProcess):
    script = (("put", "w/a", "1"), ("put", "w/a", "2"), ("del", "w/a"), ("put", "w/b", "3"), ("put", "other", "4"))
    printed = []
    for each in (store, etcd):
        revision = json.loads(each.etcdctl("get", "w", "-w", "json"))["header"]["revision"]
        for arguments in script:
            each.etcdctl(*arguments)
        command = ["watch", "w/", "--prefix", "--prev-kv", "--rev", str(revision + 1)]
        if each is store:
            with background(store, *command) as watching:
                printed.append(lines(watching, 16))
        else:
            with subprocess.Popen(
                ["etcdctl", f"--endpoints=http://{etcd.endpoint}", *command],
                env={**os.environ, "ETCDCTL_API": "3"},
                stdout=subprocess.PIPE,
                text=True,
            ) as watching:
                printed.append(lines(watching, 16))
                watching.kill()
    assert printed[0] == printed[1]


def test_a_watch_hears_what_comes_and_is_told_when_its_start_is_compacted(own_store: StoreProcess):
    own_store.start()
    with background(own_store, "watch", "live") as watching:
        time.sleep(0.5)
        own_store.etcdctl("put", "live", "now")
        assert lines(watching, 3) == ["PUT", "live", "now"]
    for value in range(5):
        own_store.etcdctl("put", "k", str(value))
    own_store.etcdctl("compaction", "5")
    with background(own_store, "watch", "k", "--rev", "2") as watching:
        assert "compacted" in "\n".join(lines(watching, 2))


# -- leases


def test_leases_are_granted_kept_alive_listed_and_revoked(store: StoreProcess):
    granted = json.loads(store.etcdctl("lease", "grant", "100", "-w", "json"))
    lease = f"{granted['ID']:016x}"  # as etcdctl prints it
    store.etcdctl("put", "leased", "v", "--lease", lease)
    store.etcdctl("put", "leased", "w", "--ignore-lease")
    assert store.etcdctl("lease", "keep-alive", "--once", lease) == f"lease {lease} keepalived with TTL(100)\n"
    found = json.loads(store.etcdctl("lease", "timetolive", lease, "--keys", "-w", "json"))
    assert found["granted-ttl"] == 100 and 98 <= found["ttl"] <= 100 and found["keys"] == ["bGVhc2Vk"]
    assert lease in store.etcdctl("lease", "list")
    assert store.etcdctl("lease", "revoke", lease) == f"lease {lease} revoked\n"
    assert store.etcdctl("get", "leased") == ""
    assert "already expired" in store.etcdctl("lease", "timetolive", lease)
    assert lease not in store.etcdctl("lease", "list")


def test_a_lease_that_nobody_keeps_takes_its_keys_along(store: StoreProcess):
    lease = f"{json.loads(store.etcdctl('lease', 'grant', '2', '-w', 'json'))['ID']:x}"
    store.etcdctl("put", "short", "v", "--lease", lease)
    began = time.monotonic()
    until(lambda: store.etcdctl("get", "short") == "")
    assert time.monotonic() - began > 1.5


# -- locks and elections


def test_a_lock_is_held_by_one_and_passed_on(store: StoreProcess):
    with background(store, "lock", "door") as first:
        key = lines(first, 1)[0]
        assert key.startswith("door/")
        with background(store, "lock", "door") as second:
            time.sleep(0.5)
            assert len(store.etcdctl("get", "door/", "--prefix", "--keys-only").split()) == 2
            first.send_signal(signal.SIGINT)
            assert lines(second, 1)[0].startswith("door/")
    assert store.etcdctl("lock", "other", "echo", "held").startswith("held")


def test_an_election_has_one_leader_whom_others_observe(store: StoreProcess):
    with background(store, "elect", "chair", "anna") as anna:
        assert lines(anna, 2)[1] == "anna"
        with background(store, "elect", "chair", "--listen") as listener, background(store, "elect", "chair", "ben"):
            assert lines(listener, 2)[1] == "anna"
            until(lambda: len(store.etcdctl("get", "chair/", "--prefix", "--keys-only").split()) == 2)
            anna.send_signal(signal.SIGINT)
            assert lines(listener, 2)[1] == "ben"


# -- the member and its health


def test_the_endpoint_tells_its_state(store: StoreProcess):
    store.etcdctl("put", "state", "v")
    store.etcdctl("endpoint", "health")  # says so on stderr; what counts is that it does not fail
    status = json.loads(store.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
    assert status["leader"] == status["header"]["member_id"]
    assert status["dbSize"] >= status["dbSizeInUse"] > 0
    assert status["raftIndex"] >= status["raftAppliedIndex"] > 0
    assert "errors" not in status
    hashed = json.loads(store.etcdctl("endpoint", "hashkv", "-w", "json"))[0]["HashKV"]
    at = status["header"]["revision"]
    again = json.loads(store.etcdctl("endpoint", "hashkv", "--rev", str(at), "-w", "json"))[0]["HashKV"]
    assert hashed["hash"] == again["hash"]
    store.etcdctl("put", "state", "changed")
    later = json.loads(store.etcdctl("endpoint", "hashkv", "-w", "json"))[0]["HashKV"]
    assert later["hash"] != hashed["hash"]
    then = json.loads(store.etcdctl("endpoint", "hashkv", "--rev", str(at), "-w", "json"))[0]["HashKV"]
    assert then["hash"] == hashed["hash"]
    assert "started" in store.etcdctl("member", "list")


def test_defragmentation_gives_room_back_while_requests_go_on(own_store: StoreProcess):
    own_store.start()
    for number in range(8):
        own_store.etcdctl("put", f"large/{number}", "x" * 100_000)
    for number in range(8):
        own_store.etcdctl("put", f"large/{number}", "y")
    revision = json.loads(own_store.etcdctl("get", "large", "-w", "json"))["header"]["revision"]
    own_store.etcdctl("compaction", "--physical", str(revision))
    before = json.loads(own_store.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
    assert before["dbSizeInUse"] < before["dbSize"] / 2
    assert "Finished defragmenting" in own_store.etcdctl("defrag")
    after = json.loads(own_store.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
    assert after["dbSize"] < before["dbSize"] / 2
    own_store.etcdctl("put", "large/0", "z")
    own_store.kill()
    own_store.start()
    assert own_store.etcdctl("get", "large/", "--prefix", "--print-value-only").split() == ["z", *"yyyyyyy"]


def test_alarms_are_listed_and_disarmed_and_the_quota_is_kept(tmp_path: Path):
    store = StoreProcess(tmp_path, "--quota-bytes", "400000", "--history", "0")
    store.start()
    try:
        assert store.etcdctl("alarm", "list") == ""
        with pytest.raises(subprocess.CalledProcessError) as caught:
            for number in range(40):
                store.etcdctl("put", f"fill/{number}", "x" * 50_000)
                time.sleep(0.12)  # the size is known when the state is written
        assert "etcdserver: mvcc: database space exceeded" in caught.value.stderr
        assert "alarm:NOSPACE" in store.etcdctl("alarm", "list")
        status = json.loads(store.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]
        assert any("alarm:NOSPACE" in error for error in status["errors"])
        for refused in (["put", "small", "v"], ["lease", "grant", "60"]):
            with pytest.raises(subprocess.CalledProcessError) as caught:
                store.etcdctl(*refused)
            assert "database space exceeded" in caught.value.stderr
        # It survives a restart; deletes and compaction go on.
        store.kill()
        store.start()
        assert "alarm:NOSPACE" in store.etcdctl("alarm", "list")
        store.etcdctl("del", "fill/", "--prefix")
        revision = json.loads(store.etcdctl("get", "x", "-w", "json"))["header"]["revision"]
        store.etcdctl("compaction", "--physical", str(revision))
        store.etcdctl("defrag")
        assert "alarm:NOSPACE" in store.etcdctl("alarm", "disarm")
        assert store.etcdctl("alarm", "list") == ""
        assert store.etcdctl("put", "small", "v") == "OK\n"
        assert "etcd_server_quota_backend_bytes 400000" in store.http("/metrics")
    finally:
        store.kill()


# -- mirrors


@needs_etcd
def test_make_mirror_carries_a_store_to_etcd_and_back(etcd: Etcd, own_store: StoreProcess):
    own_store.start()
    for number in range(20):
        own_store.etcdctl("put", f"mirror/{number:02}", f"value {number}")
    expected = own_store.etcdctl("get", "mirror/", "--prefix")
    with background(own_store, "make-mirror", "--prefix", "mirror/", "--dest-insecure-transport=true", etcd.endpoint):
        until(lambda: etcd.etcdctl("get", "mirror/", "--prefix") == expected)
        own_store.etcdctl("put", "mirror/later", "while it runs")
        own_store.etcdctl("del", "mirror/00")
        until(lambda: "mirror/later" in etcd.etcdctl("get", "mirror/", "--prefix", "--keys-only"))
        until(lambda: "mirror/00" not in etcd.etcdctl("get", "mirror/", "--prefix", "--keys-only"))
    expected = etcd.etcdctl("get", "mirror/", "--prefix")
    own_store.etcdctl("del", "mirror/", "--prefix")
    who = own_store.client
    with subprocess.Popen(
        [
            *("etcdctl", f"--endpoints=http://{etcd.endpoint}", "make-mirror", "--prefix", "mirror/"),
            *("--dest-cacert", str(who.ca), "--dest-cert", str(who.cert), "--dest-key", str(who.key)),
            *("--dest-insecure-transport=false", f"https://{own_store.endpoint}"),
        ],
        env={**os.environ, "ETCDCTL_API": "3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as mirror:
        try:
            until(lambda: own_store.etcdctl("get", "mirror/", "--prefix") == expected)
        finally:
            mirror.kill()


# -- size


def test_a_range_of_any_size_comes_in_one_answer(own_store: StoreProcess):
    own_store.start()
    for number in range(20):
        own_store.etcdctl("put", f"large/{number}", stdin="x" * 1_000_000)
    assert len(own_store.etcdctl("get", "large/", "--prefix", "--print-value-only")) > 20_000_000
    with pytest.raises(subprocess.CalledProcessError) as caught:
        own_store.etcdctl("put", "too-large", stdin="x" * 1_600_000)
    assert "etcdserver: request is too large" in caught.value.stderr


# -- backups


def test_etcdctls_snapshot_is_one_that_steer_restores(own_store: StoreProcess, tmp_path: Path):
    from deploy import snapshot
    from store import backup

    own_store.start()
    own_store.etcdctl("put", "kept", "v1")
    own_store.etcdctl("put", "kept", "v2")
    file = tmp_path / "by-etcdctl"
    assert "Snapshot saved" in own_store.etcdctl("snapshot", "save", str(file))
    found = backup.status(file)
    hashed = json.loads(
        own_store.etcdctl("endpoint", "hashkv", "--rev", str(found.description.revision), "-w", "json")
    )[0]["HashKV"]
    assert (found.keys, found.hash) == (1, hashed["hash"])
    own_store.etcdctl("put", "kept", "v3: lost by the restore")
    cluster = json.loads(own_store.etcdctl("endpoint", "status", "-w", "json"))[0]["Status"]["header"]["cluster_id"]
    revisions = [found.description.revision]
    for _ in range(2):  # twice in a row, with a write in between that must not look like one seen before
        own_store.stop()
        snapshot.restore(file, own_store.directory / "data")
        own_store.start()
        assert own_store.etcdctl("get", "kept", "--print-value-only") == "v2\n"
        header = json.loads(own_store.etcdctl("put", "after", "x", "-w", "json"))["header"]
        assert header["cluster_id"] != cluster
        assert header["revision"] > revisions[-1] + 1_000_000 if len(revisions) == 1 else revisions[-1]
        revisions.append(header["revision"])
        cluster = header["cluster_id"]
    with background(own_store, "watch", "kept", "--rev", str(found.description.revision + 1)) as watching:
        assert "compacted" in "\n".join(lines(watching, 2))


@needs_etcd
def test_a_store_becomes_an_etcd_by_etcdctls_own_restore_and_comes_back(own_store: StoreProcess, tmp_path: Path):
    from deploy import snapshot

    own_store.start()
    for number in range(60):
        own_store.etcdctl("put", f"k/{number % 20:02}", f"value {number} " * (number * 9))
    lease = f"{json.loads(own_store.etcdctl('lease', 'grant', '1000', '-w', 'json'))['ID']:x}"
    own_store.etcdctl("put", "leased", "v", "--lease", lease)
    own_store.etcdctl("put", "large", stdin="x" * 1_000_000)
    own_store.etcdctl("del", "k/03")
    own_store.etcdctl("compaction", "20")
    own_store.etcdctl("del", "k/04")
    file = tmp_path / "by-etcdctl"
    own_store.etcdctl("snapshot", "save", str(file))
    before = json.loads(own_store.etcdctl("get", "", "--prefix", "-w", "json"))
    told = json.loads(run_etcdctl("snapshot", "status", str(file), "-w", "json"))
    assert told["revision"] == before["header"]["revision"] and told["totalSize"] == file.stat().st_size - 32
    etcd = Etcd(tmp_path, restore=file)
    try:
        after = json.loads(etcd.etcdctl("get", "", "--prefix", "-w", "json"))
        assert (after["kvs"], after["header"]["revision"]) == (before["kvs"], before["header"]["revision"])
        old = ["get", "k/", "--prefix", "--rev", "30"]
        assert etcd.etcdctl(*old) == own_store.etcdctl(*old)
        with pytest.raises(subprocess.CalledProcessError) as caught:
            etcd.etcdctl("get", "k", "--rev", "19")
        assert "required revision has been compacted" in caught.value.stderr
        assert "attached keys([leased])" in etcd.etcdctl("lease", "timetolive", lease, "--keys")
        for number in range(30):
            etcd.etcdctl("put", f"k/{number:02}", "by etcd")
        revision = json.loads(etcd.etcdctl("put", "k/05", "once more", "-w", "json"))["header"]["revision"]
        etcd.etcdctl("compaction", "--physical", str(revision))
        in_between = tmp_path / "in-between"
        etcd.etcdctl("snapshot", "save", str(in_between))
        run_etcdctl("snapshot", "status", str(in_between))  # checks that every page is in its place
        etcd.etcdctl("defrag")
        expected = etcd.etcdctl("get", "", "--prefix")
        back = tmp_path / "by-etcd"
        etcd.etcdctl("snapshot", "save", str(back))
    finally:
        etcd.stop()
    own_store.stop()
    snapshot.restore(back, own_store.directory / "data")
    own_store.start()
    assert own_store.etcdctl("get", "", "--prefix") == expected
    assert "attached keys([leased])" in own_store.etcdctl("lease", "timetolive", lease, "--keys")


def test_a_store_killed_amid_a_snapshot_has_everything_and_gives_another(own_store: StoreProcess, tmp_path: Path):
    async def fill() -> None:
        client = StoreClient([own_store.endpoint], own_store.client)
        try:
            for number in range(60):
                await client.txn((), (Put(b"k%d" % number, os.urandom(500_000)),))
        finally:
            await client.close()

    own_store.start()
    asyncio.run(fill())
    file, part = tmp_path / "snapshot", tmp_path / "snapshot.part"
    command = own_store.etcdctl_command("snapshot", "save", str(file))
    saving = subprocess.Popen(command, env={**os.environ, "ETCDCTL_API": "3"}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < until:
            time.sleep(0.005)
        own_store.kill()
        assert saving.wait(30) != 0
    finally:
        saving.kill()
        saving.wait()
    assert not file.exists(), "half of a snapshot is none"
    own_store.start()
    assert len(own_store.etcdctl("get", "k", "--prefix", "--keys-only").split()) == 60
    own_store.etcdctl("snapshot", "save", str(file))
    told = json.loads(own_store.etcdctl("snapshot", "status", str(file), "-w", "json"))
    assert told["totalKey"] >= 60 and told["revision"] >= 61
