"""Users and roles as etcdctl makes them, beside a real etcd: the same commands, and the same is said and allowed."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509.oid import NameOID

from store.client import StoreClient
from store.mvcc.kv import Put
from tests.integration.beside_etcd import beside_etcd
from tests.integration.store_cluster import MemberProcess, StoreCluster
from tests.integration.store_process import StoreProcess
from tests.integration.test_etcdctl import Etcd
from tests.integration.test_store_gateway import curl

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("etcd") is None or shutil.which("etcdctl") is None, reason="etcd is not installed"),
]

ROOT, ALICE, WRONG = "--user=root:rpw", "--user=alice:apw", "--user=alice:wrong"
SETTING_UP = [
    ["user", "add", "root:rpw"],
    ["role", "add", "root"],
    ["user", "grant-role", "root", "root"],
    ["user", "add", "alice:apw"],
    ["user", "add", "alice:again"],
    ["user", "add", "nopassword", "--no-password"],
    ["role", "add", "app"],
    ["role", "add", "app"],
    ["role", "grant-permission", "app", "readwrite", "/a/", "--prefix"],
    ["role", "grant-permission", "app", "write", "/w"],
    ["role", "grant-permission", "nothing", "read", "k"],
    ["user", "grant-role", "alice", "app"],
    ["user", "grant-role", "alice", "nothing"],
    ["role", "get", "app"],
    ["user", "get", "alice", "--detail"],
    ["user", "list", "-w", "json"],
    ["put", "/z", "before"],
    ["get", "/z", ALICE],
    ["auth", "enable"],
]
ASKED = [
    *(
        [*command, who]
        for who in (ROOT, ALICE)
        for command in (
            ["put", "/a/1", "x"],
            ["get", "/a/", "--prefix"],
            ["get", "/", "--prefix"],
            ["get", "/z"],
            ["put", "/w", "1"],
            ["put", "/w", "1", "--prev-kv"],
            ["del", "/z0"],
            ["user", "get", "alice"],
            ["user", "get", "root"],
            ["role", "list"],
            ["user", "list", "-w", "json"],
            ["member", "remove", "1234"],
        )
    ),
    ["get", "/a/1"],
    ["put", "/a/1", "x"],
    ["get", "/a/1", WRONG],
    ["get", "/a/1", "--user=nobody:x"],
    ["get", "/a/1", "--user=nopassword:x"],
    ["role", "revoke-permission", "app", "/a/", "--prefix", ROOT],
    ["get", "/a/1", ALICE],
    ["user", "revoke-role", "root", "root", ROOT],
    ["user", "delete", "root", ROOT],
    ["role", "delete", "app", ROOT],
    ["user", "delete", "alice", ROOT],
    ["get", "/a/1", ALICE],
    ["auth", "disable", ROOT],
    ["get", "/a/1"],
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[StoreProcess, Etcd]]:
    with beside_etcd(tmp_path, "--allowed-clients", "*") as made:
        yield made


@pytest.fixture
def store(pair: tuple[StoreProcess, Etcd]) -> StoreProcess:
    return pair[0]


@pytest.fixture
def etcd(pair: tuple[StoreProcess, Etcd]) -> Etcd:
    return pair[1]


def said(run, *arguments: str) -> str:
    """Return what etcdctl says, without what differs between clusters."""
    try:
        answer = run("--dial-timeout=15s", "--command-timeout=15s", *arguments)  # a busy machine is slow to hash
    except subprocess.CalledProcessError as error:
        answer = f"exit {error.returncode}: {error.stdout}{error.stderr.strip().splitlines()[-1]}"
    return re.sub(r'"(cluster_id|member_id|raft_term)":\d+', r'"\1":0', answer)


def test_users_and_roles_are_made_and_allowed_what_etcd_allows_them(store: StoreProcess, etcd: Etcd):
    def ours(*arguments: str) -> str:
        return store.etcdctl(*arguments, identity=store.nameless)

    for arguments in (*SETTING_UP, *ASKED):
        assert said(ours, *arguments) == said(etcd.etcdctl, *arguments), arguments


def etcdctl(store: StoreProcess, *arguments: str) -> str:
    return said(lambda *given: store.etcdctl(*given, identity=store.nameless), *arguments)


async def test_the_names_in_certificates_are_users_too_and_our_own_go_on(store: StoreProcess):
    for arguments in SETTING_UP:
        etcdctl(store, *arguments)
    # A stranger's certificate is of nobody, until there is a user of its name.
    assert "permission denied" in said(lambda *given: store.etcdctl(*given, identity=store.stranger), "get", "/a/1")
    etcdctl(store, "user", "add", "stranger", "--no-password", ROOT)
    etcdctl(store, "user", "grant-role", "stranger", "app", ROOT)
    store.etcdctl("put", "/a/1", "by its certificate", identity=store.stranger)
    # What Steersman's own API server needs no user for, by either front door.
    assert store.etcdctl("get", "/z", "--print-value-only") == "before\n"
    client = StoreClient([store.endpoint], store.client)
    try:
        assert (await client.txn((), (Put(b"/z", b"by the Pipeline"),))).succeeded
        assert (await client.range(b"/z")).kvs[0].value == b"by the Pipeline"
    finally:
        await client.close()
    # Users outlive a restart, and no password is in what is on disk or in the log.
    store.kill()
    store.start()
    assert etcdctl(store, "get", "/a/1", "--print-value-only", ALICE) == "by its certificate\n"
    assert "user name is empty" in etcdctl(store, "get", "/a/1")
    kept = b"".join(path.read_bytes() for path in (store.directory / "data").rglob("*") if path.is_file())
    assert b"$2a$10$" in kept and b"apw" not in kept and b"apw" not in store.log.read_bytes()


def test_users_move_with_a_snapshot_to_an_etcd(store: StoreProcess, tmp_path: Path):
    for arguments in SETTING_UP:
        etcdctl(store, *arguments)
    file = tmp_path / "snapshot"
    assert "permission denied" in etcdctl(store, "snapshot", "save", str(file), ALICE)
    etcdctl(store, "snapshot", "save", str(file), ROOT)
    (tmp_path / "restored").mkdir()
    etcd = Etcd(tmp_path / "restored", restore=file)
    try:
        etcd.etcdctl("put", "/a/1", "x", ALICE)
        assert "permission denied" in said(etcd.etcdctl, "put", "/z", "x", ALICE)
        assert said(etcd.etcdctl, "role", "get", "app", ROOT) == etcdctl(store, "role", "get", "app", ROOT)
    finally:
        etcd.stop()


async def test_a_login_at_one_member_is_one_at_all_and_outlives_the_leader(tmp_path: Path):
    cluster = StoreCluster(tmp_path, 3)
    who = cluster.authority.issue("nameless", NameOID.ORGANIZATION_NAME)
    shown = ["--cacert", str(who.ca), "--cert", str(who.cert), "--key", str(who.key)]

    def start(*members: MemberProcess) -> None:
        for member in members:
            member.start("--initial-members", cluster.initial, "--allowed-clients", "*")

    def asked(member: MemberProcess, path: str, body: dict[str, str], token: str = "") -> tuple[str, Any]:
        header = ["-H", f"Authorization: {token}"] if token else []
        status, _, answer = curl(
            f"https://{member.endpoint}/v3/{path}", *shown, *header, "-d", json.dumps(body), within_s=15
        )
        return status, json.loads(answer or "{}")

    def read(member: MemberProcess, token: str = "") -> str:
        return asked(member, "kv/range", {"key": "ZQ=="}, token)[0]

    async def listens(member: MemberProcess) -> None:
        async with asyncio.timeout(30):
            while read(member) == "000":  # noqa: ASYNC110  # curl asks for a while by itself
                await asyncio.sleep(0.1)

    def log_in(member: MemberProcess) -> str:
        status, answer = asked(member, "auth/authenticate", {"name": "root", "password": "rpw"})
        assert status == "200", answer
        return str(answer["token"])

    first, *others = cluster.members.values()
    try:
        start(first, *others)
        await cluster.leader()
        for member in cluster.members.values():  # Two make a majority, and the third may not listen yet.
            await listens(member)
        for path, body in (
            ("auth/user/add", {"name": "root", "password": "rpw"}),
            ("auth/role/add", {"name": "root"}),
            ("auth/user/grant", {"user": "root", "role": "root"}),
            ("auth/enable", {}),
        ):
            assert asked(first, path, body)[0] == "200", path
        token = log_in(others[0])
        assert [read(member, token) for member in cluster.members.values()] == ["200"] * 3
        assert {read(member) for member in cluster.members.values()} == {"400"}
        lost = await cluster.leader()
        lost.kill()
        leader = await cluster.leader()
        survivors = [member for member in cluster.members.values() if member is not lost]
        assert leader in survivors
        assert [read(member, token) for member in survivors] == ["200"] * 2
        assert asked(survivors[0], "kv/put", {"key": "ZQ==", "value": "ZQ=="}, token)[0] == "200"
        start(lost)
        await listens(lost)
        # Tokens are kept in memory alone: whoever comes back may know none, but knows the users.
        again = log_in(lost)
        assert [read(member, again) for member in cluster.members.values()] == ["200"] * 3
        assert read(lost) == "400" and asked(lost, "kv/range", {"key": "ZQ=="}, again)[1]["kvs"][0]["value"] == "ZQ=="
    finally:
        cluster.close()
