"""A call's pictures on their way to vectors: service, decode pool, batcher, and the versions that are loaded."""
