"""What a PATCH means: pure functions from a document and a patch to a new document.

Documents are plain JSON values. Nothing is changed in place: what a patch leaves alone is shared with the document
it came from. `json_patch.py` is RFC 6902, `merge_patch.py` RFC 7396, `strategic.py` the API's own kind that knows which
lists are sets of named things. Start at `dispatch.py`. Of server-side apply there is the arithmetic: `fieldset.py` has
sets of fields, `shape.py` says what of a type has owners of its own, `apply.py` merges, prunes and compares; who owns
what is `apiserver.registry.apply`'s affair.
"""
