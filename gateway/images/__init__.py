"""Stored images: read, written and deleted, whether gRPC or HTTP asks."""
