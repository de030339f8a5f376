"""The cluster's DNS: names of Services and pods, and everybody else's names by asking upstream.

`records.py` decides what a name means, purely; `server.py` speaks the protocol over UDP and TCP; `forward.py` asks
upstream and remembers. The names are those of the Kubernetes DNS-Based Service Discovery specification, version 1.1.0.
"""
