"""StatefulSets: pods with names and storage of their own, made and replaced in order.

Read first: `controller.py`, one turn from top to bottom. `ordering.py` says what the next step is, `identity.py` what
each pod is called and looks like, `storage.py` which claims it has and who owns them.
"""
