"""What the gateway calls: the embedder, and Milvus from a pool of threads."""
