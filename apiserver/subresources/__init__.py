"""What is served beside an object, where it is not simply a verb on it.

`status.py`, `scale.py`, `binding.py` and `finalize.py` write the object by another way; `token.py` and the relays to
kubelets only read it. `apiserver.dispatch` says which address leads where.
"""
