"""Priority and fairness: which requests go first, and how many at once (KEP-1040)."""
