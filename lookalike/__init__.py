"""What Lookalike's services and their callers share. Imports no service."""
