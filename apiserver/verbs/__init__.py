"""What can be done with objects: one verb a file, each for every kind.

A verb takes the `Context` (registries, admission, clock) and a `Call`, and returns an `Answer`. What all writes share,
from the body to the store, is `writing.py`: read it first, then `create.py`.
"""
