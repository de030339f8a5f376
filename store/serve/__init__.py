"""The store's two front doors on one port: etcd's v3 gRPC services, and `Pipeline`.

One service a file, translation only: protobuf in, a call on the replica, protobuf out. `server.py` puts them on a
port and decides who may come in; `errors.py` is the one table from our exceptions to etcd's codes and messages.
"""
