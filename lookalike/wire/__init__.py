"""Records <-> messages of the contract."""
