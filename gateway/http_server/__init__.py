"""What protects an HTTP server from its peers: hosts, connections, bodies, JSON, errors. Knows nothing of the contract."""
