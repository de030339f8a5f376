"""Container images built offline, for machines that reach no registry.

`archive.py` writes and reads OCI image archives, `pause.py` makes the pause program, `web.py` says what the example's
web image holds, and `build.py` puts them into the data directory, where `steer up` loads them from into every node.
Equal inputs give equal bytes, so an image's digest changes only when its content does.
"""
