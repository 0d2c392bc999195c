"""The way of a chunk: fetched, compared, embedded, written, recorded."""
