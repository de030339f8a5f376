"""The component API: how every process but kubectl speaks to the API server."""
