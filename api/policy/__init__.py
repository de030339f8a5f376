"""What limits disruption: PodDisruptionBudget, and the Eviction that asks it."""
