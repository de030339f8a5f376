"""How many replicas something has: the body of `scale`."""
