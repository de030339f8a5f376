"""The core group: pods and what they need, nodes, Services, configuration, events.

One file a kind; what pods are made of has files of its own (`containers.py`, `volumes.py`, `references.py`), and so do
a pod's defaults, rules and columns. `configmap.py` is the model to copy for a new kind.
"""
