"""The REST door: what kubectl and client libraries speak. Translation only; the verbs are behind it.

A request comes in at `door.py`, which makes a `Call` of it and an answer or a Status of what comes back. `answers.py`
writes objects and lists as asked for, `frames.py` and `watch.py` (for browsers, `websocket.py`) the events of a watch,
`documents.py` what clients ask about the API itself. Read `door.py` first.
"""
