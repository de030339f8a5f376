"""Certificates on request: nodes' own are approved, what is approved is signed, and what is old is swept away.

`requests.py` says what each of Kubernetes' signers signs; `approving.py`, `signing.py` and `cleaning.py` are one
controller each.
"""
