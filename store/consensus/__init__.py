"""One agreed, durable sequence of entries: PySyncObj's raft made safe, known only in here.

The rest of the store sees `consensus.py`. `library.py` brings the library in and says how our parts are stacked on it,
one concern a file: `durability` (group commit), `reconfiguring` (members), `replication`, `election`, `installing`
(snapshots), `forwarding` (any member can be asked), `member` (the face). Pure pieces: `journal.py` the log on disk,
`membership.py` who belongs, `read_index.py` linearizable reads, `snapshot.py` how a state is framed. `peers.py` is the
wire, `disk.py` where blocking work is done. Read `consensus.py`, then `journal.py`, then `library.py` and up the stack.
"""
