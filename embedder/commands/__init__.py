"""The embedder's own commands, one module each: `lookalike train`, `evaluate`, `models`. `embedder.cli` registers them.

TensorFlow takes seconds to import: each command imports what needs it when it runs, never before.
"""
