"""The shared types: every kind the API serves, declared once, and what follows from a declaration.

Pure: nothing here does I/O or reads a clock. Each resource is one file (`core/configmap.py` is the model to
copy) that ends in a `RESOURCE`; `discover.py` finds them, and verbs, discovery, OpenAPI, tables and clients follow.
Read `schema.py` first (how a field is declared), then `resource.py` (how a resource is).
"""
