"""HTTP/2 on the event loop (RFC 9113), for servers that have many small things to say to one client.

`connection.py` is the server's side of one connection: frames in and out, flow control both ways, and an orderly end.
`hpack.py` reads compressed headers (RFC 7541), `frames.py` says what frames look like. What a request means is decided
by whoever derives from `Connection`: gRPC in `store.http2`, the REST API in `apiserver.rest.http2`. There is no server
push, no priorities and no plaintext.
"""
