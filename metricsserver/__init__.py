"""The metrics server: what nodes and pods use, as `metrics.k8s.io` tells `kubectl top` and autoscalers.

An aggregated API server like anybody's, and as easily replaced: it asks every kubelet for `/metrics/resource` four
times a minute, keeps the last two answers in memory, and serves their difference to the API server's front proxy, and
to nobody else. It speaks only what any metrics server speaks, REST, so it knows neither `client` nor `api`, and costs a
third less memory for that. **Read first:** `samples.py`, pure: from what kubelets say to what is used.
"""
