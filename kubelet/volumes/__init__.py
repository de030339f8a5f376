"""Volumes, one kind a file, each able to set itself up again over what it left: setting up twice changes nothing.

`pod_volumes.py` is the entry: it sets up, refreshes and tears down all volumes of a pod. `payload.py` is pure and says
which files a ConfigMap, Secret or projection makes; `atomic_writer.py` puts them in place all at once.
"""
