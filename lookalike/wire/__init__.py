"""Records to messages of the contract, and back."""
