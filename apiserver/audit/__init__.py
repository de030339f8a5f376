"""The audit log: who asked for what, and what came of it (audit.k8s.io/v1).

`policy.py` decides what is told of a request, `event.py` puts it into words, `log.py` writes it down and turns files
over; `apiserver.filters.audit` is where requests pass by. The first two are pure.
"""
