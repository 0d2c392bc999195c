"""gRPC over `gateway.rpcs`."""
