"""Wire formats between processes, as protocol buffers, with the Python made from them beside each.

`steersman/` is our own component API; `etcd/` and `cri/` are the public interfaces of the store and of container
runtimes; `containerd/` is the part of containerd's events that a kubelet listens to. The `_pb2` files are generated.
"""
