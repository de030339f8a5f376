"""One scheduling rule a file; `scheduler.profile` lists those in use, in order, with their weights.

A plugin is a class without state of its own that implements the protocols of `scheduler.framework` it needs. To add
one: copy `node_ports.py`, add it to `profile.DEFAULT`, test it in `tests/unit/scheduler/plugins/`.
"""
