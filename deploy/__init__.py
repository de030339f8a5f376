"""From nothing to a running cluster: the `steer` command line, certificates, supervision, manifests, images.

`cli.py` names the verbs and decides nothing; `plan.py` computes which processes a cluster is made of; `local.py`
brings such a plan up on this machine; `supervisor.py` keeps it running; `node_host.py` makes nodes of namespaces.
"""
