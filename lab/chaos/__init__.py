"""`steer chaos`: breaks a running store on purpose, and proves from what its clients saw whether it kept its promises.

`steer chaos store` starts members of its own, lets clients record every call they make, injects faults drawn from a
seed, and then judges. What is decided is pure: `schedule.py` (which fault, when), `history.py` (what is recorded),
`linearizable.py` and `checks.py` (whether it can have been), `effects.py` (what the faults did). What is done is thin:
`arena.py` (network namespaces, disks, clocks), `cluster.py` (members), `faults.py`, `clients.py`, and `rounds.py`,
which ties them together. Read `rounds.py` first, or `linearizable.py` for the idea at the heart of it.
"""
