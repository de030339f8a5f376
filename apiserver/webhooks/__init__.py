"""Asking webhooks: HTTPS servers of the cluster's users that convert, change and judge objects.

`client.py` asks one question of one webhook and keeps connections; `services.py` says where a Service is reached from
here. What is asked, and what an answer means, is for those who ask: `crd/conversion.py`, `admission/webhooks/`.
"""
