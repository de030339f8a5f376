"""Deletes what belongs to nobody any more: objects all of whose owners are gone.

`verdict.py` is the decision, pure. `graph.py` answers who depends on whom, from the informers of every kind served.
`collector.py` talks with the server: it looks at an object and its owners live before it deletes anything. Background,
foreground and orphan deletion are upstream's; the API server marks the owner with a finalizer, and the rest is here.
"""
