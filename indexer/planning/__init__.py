"""From a job's source to its manifest."""
