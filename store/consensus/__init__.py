"""One agreed, durable sequence of entries: PySyncObj's raft made safe, known only in here.

The rest of the store sees `consensus.py`. `member.py` has every override of the library in one place, `journal.py`
the log on disk, `transport.py` the wire between members, `read_index.py` linearizable reads, `snapshot.py` how a
member too far behind is brought up. Read `consensus.py`, then `journal.py`, then `member.py`.
"""
