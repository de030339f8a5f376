"""Kinds of storage and the drivers that provide it; claims and volumes themselves are in `api/core`."""
