"""`steer-balancer`: one address for kubectl on every machine, behind which are all API servers that are well.

It carries TCP connections and looks into none of them: TLS goes from the client to the API server. `backends.py` is
pure: which API server a new connection goes to. `probe.py` finds out how each is doing, `proxy.py` carries connections
and cuts those whose API server has fallen silent. Our own processes do not go through it: they hold a connection to
every API server themselves (`client/transport.py`).
"""
