"""What the client port says to plain HTTP: etcd's API as JSON, as its gRPC gateway has it, and its few pages.

`routes.py` is which path is which method, `json_form.py` a message as JSON and back, `pages.py` what is answered. How
it is asked, by HTTP/1.1 or HTTP/2, is in `store.http2`.
"""
