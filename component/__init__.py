"""What every process has: settings, logs, metrics, health, listeners, orderly stop, a clock.

Nothing here knows a resource, a key or a pod. Read `flags.py` first: it turns a frozen dataclass into
a command line, and every `__main__.py` starts there.
"""
