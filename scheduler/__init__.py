"""The scheduler: it chooses a node for every pod that has none, and tells the API server by a binding.

Deciding is pure: `cycle.schedule` takes a pod and a snapshot of the cluster and returns a placement or a sentence
about why there is none; `plugins/` holds one rule a file. Around it, `cache.py` keeps what is known of nodes and
pods, also of those just placed, and `queue.py` says which pod is next and when a rejected one is worth another try.
`scheduler.py` is the only file that awaits anything. Read `cycle.py` first, then `framework.py`.

The shape (extension points, queue with backoff, assumed pods) is KEP-624's scheduling framework.
"""
