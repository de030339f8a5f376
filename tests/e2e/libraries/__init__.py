"""Programs that use client libraries as their users do, run in an environment of their own by `test_libraries.py`.

Each takes a namespace, reads KUBECONFIG, and ends with exit code 0 when all it did came out right.
"""
