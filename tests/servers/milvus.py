"""Fixtures to come from their owner."""
