"""Stored images: read, written and deleted, by gRPC and HTTP alike."""
