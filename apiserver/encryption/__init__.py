"""Encryption at rest: what the store holds of chosen kinds is unreadable without a key that the store never sees.

Read `store.py` first: it stands between the registries and the store, and nothing above or below it knows. Which kinds,
which keys: `configuration.py`. The ciphers, in upstream's formats: `providers.py`, `secretbox.py`.
"""
