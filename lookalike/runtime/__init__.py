"""The base of every service: settings, server, channels, interceptors, calls, logs, metrics and traces."""
