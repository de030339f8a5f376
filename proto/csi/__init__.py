"""How a kubelet speaks with storage drivers: the Container Storage Interface v1, and their registration on a node."""
