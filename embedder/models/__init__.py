"""A model at rest as a bundle, its architecture, and the network that computes."""
