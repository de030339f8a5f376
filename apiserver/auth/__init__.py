"""Who is asking, and what they may do.

`certificates.py` and `tokens.py` each recognise one kind of credential; `chain.py` tries them in order and
`impersonation.py` lets those who may act as someone else. `authorizers.py` asks those who decide, in order: `node.py`,
what nodes may; `rbac.py`, purely, from the four RBAC kinds; `webhook_authorizer.py`, somebody elsewhere. `policy.py` is
the roles and bindings every cluster starts with (`apiserver.bootstrap` writes them). Read `rbac.py` first.
"""
