"""The embedder: encoded pictures in, vectors out. The only package that imports TensorFlow or Keras."""
