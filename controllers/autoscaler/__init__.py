"""HorizontalPodAutoscalers: how many pods a workload has, decided by what its pods use.

Read first: `controller.py`, one look at one autoscaler. `usage.py` says how many pods follow from what is measured,
`limits.py` how fast and how far their number may change. Only metrics of resources (`metrics.k8s.io`) are read; an
autoscaler that asks for others is told so in its conditions. The component API does not relay requests to aggregated
servers yet, so metrics are out of reach there, and the conditions say that, too.
"""
