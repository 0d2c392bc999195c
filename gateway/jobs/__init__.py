"""Ingest jobs: created, watched and cancelled, by gRPC and HTTP alike."""
