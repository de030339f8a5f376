"""The node's agent: makes the pods bound to its node real, and says truthfully how they are.

`lifecycle.py` decides (pure), `status.py` describes (pure), `pod_worker.py` carries out, one task for each pod.
`runtime/` is all that speaks CRI, `volumes/` and `probes/` have one kind a file, `server.py` answers kubectl's
logs, exec, attach and port-forward by way of the API server. Not here: the pod network and Services (kubeproxy).
Read `lifecycle.py` first, then `pod_worker.py`.
"""
