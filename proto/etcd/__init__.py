"""etcd's v3 API: key-value transactions, watches, leases, and the upkeep of a cluster."""
