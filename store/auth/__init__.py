"""Users, roles and what they may do, as etcd has them: off until somebody enables it.

`state.py` is replicated: who there is, and whether a caller may do what it asks, decided where a command is applied
and so alike on every member. `permissions.py` is the ranges of keys in it. `tokens.py` is by what callers are known
that have shown a password, `passwords.py` how those are kept, and `access.py` finds out who calls.
"""
