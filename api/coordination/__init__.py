"""Leases, by which processes agree who leads and who is alive."""
