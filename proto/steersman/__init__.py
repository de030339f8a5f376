"""Steersman's own interfaces, by version."""
