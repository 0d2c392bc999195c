"""How good an embedding is: exact search over labelled pictures, or finding originals after attacks; and the report of it."""
