"""bbolt files, in which etcd keeps its state and which its snapshots are: written in one go, and read with suspicion.

A file is pages of one size. Two say where all begins (`format.py`, read first), one says which are free, and the rest
are B+trees: one of buckets by name, and one for each bucket. Nothing here knows what etcd puts into them.
"""
