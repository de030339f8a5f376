"""ValidatingAdmissionPolicy: rules about writes as CEL expressions, evaluated here (KEP-3488).

`plugin.py` is where a write comes by; `policy.py` is one policy compiled and evaluated (pure), `registered.py` all of
them with their bindings, `params.py` finds what bindings refer to, `type_check.py` says on a policy's status where its
expressions don't fit the kinds that they are about. What may be written at all, `rules.py` says.
"""
