"""EndpointSlices: which addresses are behind a Service. (What kinds there are is `api/discover.py`.)"""
