"""Ingest jobs: created, watched and cancelled, whether gRPC or HTTP asks."""
