"""One machine of a cluster under systemd: `steer init`, `join`, `leave`, `upgrade`, `certs`, `token`, `reset`.

`plan.py` is pure and comes first: from what a machine is to the units it runs and their settings. `steps.py` is how
every verb is carried out: a list of steps, each of which looks before it acts, so that a verb can be repeated,
finished after it was cut short, or only shown (`--dry-run`). `create.py` and `join.py` list the steps of a first and of
a further machine; `credentials.py`, `discovery.py` and `tokens.py` are how a newcomer comes to trust and be trusted;
`leave.py`, `upgrade.py` and `certs.py` are the rest of a machine's life; `cli.py` has the verbs.
"""
