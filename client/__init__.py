"""Talking to the API server over the component API: verbs, informers, work queues, leader election.

What every controller-like process is made of. Read `verbs.py` (the calls), then `informer.py` (the cache that
follows them). Nothing here decides anything about a kind.
"""
