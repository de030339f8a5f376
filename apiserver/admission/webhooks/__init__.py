"""Webhooks that users register: asked about writes before they happen.

`mutating.py` asks in order, each about what those before it have made of the object; `validating.py` asks all at once.
What both need: `registered.py` (whom to ask), `review.py` (what is asked, and what an answer means; pure) and `call.py`
(asking one of them). Upstream's "Dynamic Admission Control" is the reference.
"""
