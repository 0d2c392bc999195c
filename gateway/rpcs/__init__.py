"""The RPCs of the contract, for gRPC and HTTP: each turns a message into records, calls the core and turns its answer back."""
