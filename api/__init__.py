"""The shared types: every kind the API serves, declared once, and what follows from a declaration.

Pure: nothing here does I/O or reads a clock. Each resource is one file (`core/configmap.py` is the model to
copy) that ends in a `RESOURCE`; `discover.py` finds them, and verbs, discovery, OpenAPI, tables and clients follow.
A folder is a group; one named after a version (`autoscaling/v2/`) holds what is not v1, and a kind that is served in
two versions says in one of them how it becomes the other, in which it is stored (`Resource.storage`).
Read `schema.py` first (how a field is declared), then `resource.py` (how a resource is).
"""
