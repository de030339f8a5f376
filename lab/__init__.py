"""Where a cluster is measured and broken: `bench/` prints figures, `chaos/` breaks things, `machines/` makes hosts.

Everything here works on a cluster from outside: through `steer`, kubectl's API and the kernel, never by reaching into a
process. Read `bench/cli.py` first.
"""
