"""The loops that make what is into what is wanted, all in one process with one set of caches.

One file is one controller, read top to bottom: `Observed`, `observe`, the pure `reconcile`, its steps, `CONTROLLER`.
`replicaset.py` is the model to copy. `runner.py` carries any of them: informers to queue to reconcile to actions.
`manager.py` lists them all and lets one process of several lead. Controllers never import each other.
"""
