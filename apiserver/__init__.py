"""The API server: one set of verbs, two front doors (REST and gRPC), over the store.

Stateless; any number may run. `app.py` wires it and lists the chain a request passes; `request.py` says what
passes through it. Start at `verbs/create.py` to follow one write down to the store.
"""
