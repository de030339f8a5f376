"""Storage drivers on this node: the Container Storage Interface, as a node uses it.

A driver's node plugin makes itself known by a socket below `plugins_registry` (`registry.py`); volumes that name it are
prepared and mounted by calls to it (`volumes.py`, by way of `driver.py`). Attaching volumes to nodes is left to whoever
writes VolumeAttachments. Read `volumes.py` first.
"""
