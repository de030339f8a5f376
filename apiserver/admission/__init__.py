"""Rules about writes that look beyond the object written: its namespace, its account, who writes it.

One plugin a file; `chain.py` orders them. A plugin may change the object (`admit`) or only judge it (`validate`).
`webhooks/` and `policies/` hold what users configure at run time. What a kind demands of its own fields is in `api/`,
not here. Start at `namespace_lifecycle.py`, the shortest.
"""
