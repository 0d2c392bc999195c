"""What protects an HTTP server from its peers, and knows nothing of the contract: connections, hosts, bodies, JSON, the shape of errors."""
