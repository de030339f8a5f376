"""`steer lab`: machines with systemd on one box, to deploy to as a user would, and to break.

Each machine is a systemd-nspawn container that boots a Debian of its own: `layers.py` makes what all machines share (an
operating system, Python packages, our code), `machine.py` is one machine (power, commands, disk, clock), `network.py`
is the wire between them and what can be cut on it, `lab.py` ties them together, and `cli.py` has the verbs. Nothing of
a machine is visible outside: its mounts live in a mount namespace, its packets cannot leave the wire.
Read `machine.py` first.
"""
