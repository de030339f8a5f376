"""What a node and its pods use: `summary` makes /stats/summary, of what `storage` and `system` read."""
