"""A job's last unit, after its chunks: mirror, or the forecast of a dry run."""
