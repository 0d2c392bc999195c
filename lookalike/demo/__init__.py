"""The demo: Fashion-MNIST's test pictures through the real path, with the quality measured. `lookalike.cli.demo` drives it."""
