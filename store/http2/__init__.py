"""A gRPC server over HTTP/2 on the event loop, made for many small calls.

grpcio's asyncio server spends 150 to 240 microseconds of CPU on a call; this one about a sixth of that, which on a
machine of few cores is most of what a put costs (decision 22). It serves what gRPC needs of HTTP/2 (RFC 9113) and
nothing else: no server push, no priorities, no plaintext.

Read first: `call.py`, one call from headers to trailers. `connection.py` says what a request of a connection is, whose
frames, flow control and compressed headers are in `component.http2`; `server.py` is the listener. What is not gRPC
comes in by `page.py`, or by HTTP/1.1 in `http1.py`, and is answered by a `web.Web`. What is served is decided
elsewhere (`store.serve`).
"""
