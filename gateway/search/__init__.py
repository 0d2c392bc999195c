"""The way of a query: checked, embedded, searched, fused, answered."""
