"""The gateway's records as messages of the contract, and back."""
