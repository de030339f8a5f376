"""containerd's event service: what happened to containers, pushed rather than polled."""
