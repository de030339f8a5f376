"""Whom the API server asks about writes, and by which rules it judges them itself. Read `webhooks.py` first."""
