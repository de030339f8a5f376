"""Kinds that users define: from a CustomResourceDefinition to a kind that is served like any other.

Read `controller.py` first: it follows the definitions and makes, for each version of each, a `Resource` (`kinds.py`),
so that the verbs, discovery, OpenAPI and tables need to know of nothing but a kind more. What a schema says is
compiled once (`structural.py`) into what prunes, defaults and validates (`values.py`) objects, and its rules in CEL
(`rules.py`) into programs. `definition.py` says what a definition itself may hold, `conversion.py` how an object
gets from one version to another.
"""
