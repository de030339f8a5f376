"""What the kubelet asks of a container runtime, and how it sees what runs.

`cri.py` is the interface and its gRPC form, `hollow.py` the same in memory. `records.py` holds the values that the
pure parts of the kubelet look at; `pleg.py` keeps them fresh. `sandbox.py`, `containers.py` and `images.py` turn a
pod's specification into requests. Nothing here decides when to do what: that is `kubelet.lifecycle`.
"""
