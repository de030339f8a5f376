"""The Common Expression Language, as Kubernetes speaks it: rules of custom kinds, and of admission policies.

`program.compile_` takes a text to a `Program`, which is evaluated with variables and a cost it may not exceed. The
parts, in the order in which a text goes through them: `syntax.py` (text to tree, macros recognised), `program.py`
(tree to closures), `values.py` (what values are and how they compare) and `functions.py` (the library, with what it is
put together from: `operators.py`, `times.py`, `kubernetes.py`). Beside them, `check.py` tells types before anything is
evaluated, and `authorization.py` is how admission asks about rights.

Why it is written here, though there are packages: none counts what an evaluation costs, which is what keeps a rule
that users wrote from stopping the server, and none checks types (docs/decisions/0021-cel.md).
"""
