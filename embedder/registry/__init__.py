"""Which versions of a model are kept, and which of them its name means."""
