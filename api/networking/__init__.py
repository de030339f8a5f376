"""Traffic: Ingress, IngressClass, NetworkPolicy."""
