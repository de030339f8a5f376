"""How important pods are: PriorityClass."""
