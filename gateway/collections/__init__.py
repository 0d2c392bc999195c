"""Collections and their generations: what is done to them, by gRPC and HTTP alike."""
