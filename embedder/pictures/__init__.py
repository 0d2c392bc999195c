"""Encoded bytes -> pixels: formats, limits, decoding, and what is drawn or altered of a picture."""
