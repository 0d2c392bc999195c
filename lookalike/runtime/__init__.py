"""What a service runs on: settings, server, channels, interceptors, status mapping, logs and metrics."""
