"""The filter language: `parsing` reads it into the records of `lookalike.records.filter`, `matching` evaluates these."""
