"""The `lookalike` command. One module per group of commands; `main` joins them, `exits` says what the exit codes mean.

Nothing here imports gRPC or NumPy until a command runs: `lookalike --help` must be quick.
"""
