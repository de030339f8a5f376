"""A cluster of our own code in one thread on virtual time, with faults drawn from a seed.

Everything is real but the outside: the network, the container runtime and the clock are stand-ins (`network.py`,
`runtime.py`, `loop.py`). `cluster.py` puts the processes together and can crash each of them, `faults.py` decides from
the seed when that happens, and `checkers/` holds what must be true all along and what must be true in the end, one
rule a file. A failure prints its seed; the same seed gives the same run.
"""
