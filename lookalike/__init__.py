"""Code that Lookalike's services and their callers share. It imports no service."""
