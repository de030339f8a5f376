"""Cluster IPs and node ports: each handed out to one Service at a time, whichever apiserver is asked.

`ranges.py` says which are free to choose (pure); `claims.py` records who has which in the store, one guarded key each;
`services.py` says what a Service needs when it is created, changed and deleted; `repair.py` mends what a crash left
behind. Read `services.py` first.
"""
