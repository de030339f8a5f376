"""The API server: one set of verbs, two front doors (REST and gRPC), over the store.

Stateless; any number may run. A request travels `rest/` or `grpc/` (translation only) → `filters/` (the chain) →
`dispatch.py` → `verbs/` or `subresources/` → `registry/` → the store. `request.py` says what travels. `app.py` wires it
without a socket: `app.build(store, clock, random)` is a whole API in one object, which `server.py` puts behind the two
doors and tests call in memory (`tests/local_transport.py` is a client's transport straight into it).
Start at `verbs/create.py` to follow one write down to the store.
"""
