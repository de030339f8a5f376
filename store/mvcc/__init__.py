"""Multi-version concurrency control as etcd defines it: pure, no clock, no disk, no awaits.

`revision.py` has the values, `index.py` which revisions each key went through, `kv.py` ranges and transactions,
`compaction.py` what may be forgotten, `watch.py` who hears of what. Start with `kv.py`.
"""
