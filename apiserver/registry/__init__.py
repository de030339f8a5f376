"""Objects between the verbs and the store: optimistic read-modify-write, the watch cache, watch fan-out.

`codec.py` says what bytes are stored; `storage.py` writes them, one guarded transaction a write; `deletion.py` decides
(purely) what a delete means; `watch_cache.py` follows one resource and answers lists; `fanout.py` hands each
event, encoded once, to everyone who asked for it. Read `storage.py` first.
"""
