"""The replicated key-value store: etcd's v3 API over a raft log that never loses what it acknowledged.

A request travels `serve/` (gRPC, translation only) → `replica.py` (validate, propose, wait) → `consensus/` (one
agreed, durable log) → `apply.py` (deterministic) → `mvcc/` (revisions, ranges, watchers; pure) → `backend.py`
(LMDB). What the apiserver imports is `client.py` and nothing else; `local.py` is the same face over MVCC in
memory, for simulations and unit tests. Read `mvcc/kv.py` first: the rest exists to feed it in one order.
"""
