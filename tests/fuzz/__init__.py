"""A fuzzer of the API server: random requests, from sound to hostile, and an oracle that judges every answer.

    python -m tests.fuzz --minutes 4 --resume fuzz.json --seed 1      # goes on where the file left off
    python -m tests.fuzz --replay cases/0007-status-500.json          # sends a saved case again

An *episode* is a server of its own (`arena.py`: the real one over TLS, with a store in memory) and some hundred
requests drawn from `seed:number`. What is sent: `objects.py` (objects of built-in kinds, from the declarations),
`schemas.py` (custom kinds with rules, and their objects), `patches.py`, `hostile.py` (bytes, paths, headers). What is
believed: `oracle.py` (each answer), `watching.py` (each watch against the store's history). `episode.py` ties them
together and is to be read first; `cases.py` makes failures small and saves them.
"""
