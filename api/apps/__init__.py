"""Workloads: Deployments and the ReplicaSets they own."""
