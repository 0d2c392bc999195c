"""The gateway: gRPC and HTTP over one core. Search, images, collections, ingest jobs, and the web page."""
