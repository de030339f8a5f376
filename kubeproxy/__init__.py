"""Services on one node: their virtual addresses become rules in the kernel, and pods get their network.

Read `rules.py` first: what a Service is in iptables, compiled purely. `topology.py` decides which endpoints this node
sends to, `chains.py` names things as upstream does, `proxy.py` is the loop around them. `conntrack.py` ends flows that
outlive their endpoint; `health_checks.py` and `eligibility.py` are what load balancers ask. `network.py` owns the rest
of the node's pod network: CNI configuration, the pods' bridge, and routes to other nodes' pods.
"""
