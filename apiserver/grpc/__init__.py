"""The component door: `proto/steersman/v1/resources.proto`, what our own processes speak, over mTLS.

Translation only; the verbs and the chain are those of REST. `service.py` has the plain calls, `watch.py` one client's
many watches on one stream, `write.py` batches of small writes, `status.py` how errors travel.
"""
