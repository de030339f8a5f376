"""Groups that other servers have: an APIService says where, and to clients it is all one API.

`servers.py` says who answers a request, and asks such servers in this one's own name; `availability.py` checks that
they can be asked, and gathers what they serve; `registration.py` keeps an APIService for every group version that is
served here; `priorities.py` orders groups and versions. What they serve is merged into discovery and OpenAPI by
`apiserver.discovery` and `documents.py`.
"""
