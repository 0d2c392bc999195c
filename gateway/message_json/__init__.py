"""JSON <-> messages of the contract, by their descriptors. Knows nothing of HTTP."""
