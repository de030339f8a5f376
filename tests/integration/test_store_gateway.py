"""The client port as plain HTTP, by 1.1 and 2: etcd's API as JSON, beside a real etcd's gateway."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.beside_etcd import beside_etcd
from tests.integration.store_process import StoreProcess
from tests.integration.test_etcdctl import Etcd

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("etcd") is None or shutil.which("curl") is None, reason="etcd or curl is missing"),
]

ASKED: list[tuple[str, str]] = [
    ("kv/put", '{"key":"Zm9v","value":"YmFy"}'),
    ("kv/put", '{"key":"Zm9v","value":"YmF6","prevKv":true}'),
    ("kv/range", '{"key":"Zm9v"}'),
    ("kv/range", '{"key":"AA==","range_end":"AA==","limit":1,"sort_order":"DESCEND","sort_target":"MOD"}'),
    ("kv/range", "{}"),
    ("kv/range", ""),
    ("kv/range", '{"key":"Zm9v","revision":"99999","nobody knows":1}'),
    (
        "kv/txn",
        '{"compare":[{"target":"CREATE","key":"Zm9v","createRevision":"2"}],"success":[{"requestPut":{"key":"Zm9v"}},'
        '{"request_range":{"key":"Zm9v"}}],"failure":[{"request_delete_range":{"key":"Zm9v"}}]}',
    ),
    ("kv/deleterange", '{"key":"Zm9v","prev_kv":true}'),
    ("kv/compaction", '{"revision":"3"}'),
    ("kv/compaction", '{"revision":3}'),
    ("lease/grant", '{"TTL":"100","ID":77}'),
    ("lease/grant", '{"TTL":100,"ID":"77"}'),
    ("lease/keepalive", '{"ID":"77"}'),
    ("lease/timetolive", '{"ID":"78"}'),
    ("lease/leases", ""),
    ("kv/lease/revoke", '{"ID":"77"}'),
    ("lease/revoke", '{"ID":"77"}'),
    ("watch", '{"create_request":{"key":"AA==","range_end":"AA==","start_revision":"4"}}'),
    ("watch", '{"create_request":{"key":"AA==","range_end":"AA==","start_revision":"1","watch_id":"5"}}'),
    ("watch", '{"createRequest":{"key":"YQ=="}}{"create_request":{"key":"YQ==","watchId":"9"}}'),
    ("cluster/member/remove", '{"ID":"5"}'),
    ("maintenance/alarm", '{"action":"GET"}'),
    ("auth/user/list", "{}"),
    ("auth/authenticate", '{"name":"root","password":"p"}'),
    ("election/leader", '{"name":"ZQ=="}'),
    ("nothing", "{}"),
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[StoreProcess, Etcd]]:
    with beside_etcd(tmp_path) as made:
        yield made


@pytest.fixture
def store(pair: tuple[StoreProcess, Etcd]) -> StoreProcess:
    return pair[0]


@pytest.fixture
def etcd(pair: tuple[StoreProcess, Etcd]) -> Etcd:
    return pair[1]


def curl(url: str, *arguments: str, within_s: float = 1.5) -> tuple[str, str, str]:
    """Return the HTTP status, content type and body; a stream is left after `within_s`."""
    command = ["curl", "-s", "--max-time", str(within_s), "-w", "\n%{http_code}\n%{content_type}", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    body, status, kind = done.stdout.rsplit("\n", 2)
    return status, kind, re.sub(r'"(cluster_id|member_id|raft_term)":"\d+"', r'"\1":"0"', body)


def as_client(store: StoreProcess) -> list[str]:
    who = store.client
    return ["--cacert", str(who.ca), "--cert", str(who.cert), "--key", str(who.key)]


def test_the_api_as_json_is_etcds(store: StoreProcess, etcd: Etcd):
    for path, body in ASKED:
        ours = curl(f"https://{store.endpoint}/v3/{path}", "--http1.1", "-d", body, *as_client(store))
        assert ours == curl(f"http://{etcd.endpoint}/v3/{path}", "-d", body), (path, body)


def test_http_2_is_answered_the_same_and_a_large_body_both_ways(store: StoreProcess, tmp_path: Path):
    (tmp_path / "body").write_text(json.dumps({"key": "Zm9v", "value": "eHh4" * 300_000}))
    for version in ("--http2", "--http1.1"):
        put = curl(f"https://{store.endpoint}/v3/kv/put", version, "-d", f"@{tmp_path / 'body'}", *as_client(store))
        assert put[0] == "200", put
        _, _, body = curl(f"https://{store.endpoint}/v3/kv/range", version, "-d", '{"key":"Zm9v"}', *as_client(store))
        assert json.loads(body)["kvs"][0]["value"] == "eHh4" * 300_000
        health = curl(f"https://{store.endpoint}/health", version, *as_client(store))
        assert health == ("200", "text/plain; charset=utf-8", '{"health":"true"}')
        watched = curl(
            f"https://{store.endpoint}/v3/watch", version, "-d", '{"create_request":{"key":"Zm9v"}}', *as_client(store)
        )
        assert json.loads(watched[2])["result"]["created"] is True


def test_pages_and_who_may_see_them(store: StoreProcess, tmp_path: Path):
    for path, status in (("/version", "200"), ("/metrics", "200"), ("/nothing", "404"), ("/v3/kv/range", "405")):
        assert curl(f"https://{store.endpoint}{path}", *as_client(store))[0] == status
    who = store.stranger
    stranger = ["--cacert", str(who.ca), "--cert", str(who.cert), "--key", str(who.key)]
    (tmp_path / "body").write_bytes(b"x" * (1 << 20))
    for version in ("--http2", "--http1.1"):
        for body in ('{"key":"Zm9v"}', f"@{tmp_path / 'body'}"):  # refused while it is still being sent
            assert curl(f"https://{store.endpoint}/v3/kv/range", version, "-d", body, *stranger)[0] == "403"
        nobody = curl(f"https://{store.endpoint}/version", version, "--cacert", str(who.ca))
        assert nobody[0] == "000"  # without a certificate not even that


def test_a_login_by_http_is_one_by_grpc(store: StoreProcess):
    for arguments in (["user", "add", "root:rpw"], ["user", "grant-role", "root", "root"], ["auth", "enable"]):
        store.etcdctl(*arguments)
    url = f"https://{store.endpoint}/v3"
    _, _, body = curl(f"{url}/auth/authenticate", "-d", '{"name":"root","password":"rpw"}', *as_client(store))
    token = json.loads(body)["token"]
    for given, status in ((token, "200"), ("wrong", "401")):
        header = ["-H", f"Authorization: {given}"]
        assert curl(f"{url}/kv/range", "-d", '{"key":"Zm9v"}', *header, *as_client(store))[0] == status
