"""How a Siamese tower is made: data, losses, the training run, and the exact-search evaluation of the result."""
