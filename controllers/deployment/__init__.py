"""The Deployment controller: a rollout from one set of pods to another, one ReplicaSet a template.

Read `controller.py` first: what is observed and what is decided in which order. `revisions.py` finds and names the
ReplicaSet of a template and keeps revision numbers, `rolling.py` is the arithmetic of a rolling update, `scaling.py`
spreads a change of size over several ReplicaSets, `status.py` says how the rollout is getting on. All pure.
"""
