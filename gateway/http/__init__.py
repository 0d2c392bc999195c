"""HTTP and JSON: the same core as gRPC, with OpenAPI at `/docs` and the web page at `/`."""
