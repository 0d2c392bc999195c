"""Collections and their generations: what is done to them, whether gRPC or HTTP asks."""
