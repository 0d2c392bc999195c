"""The RPCs of the contract: each turns its message into records, calls the core and turns the answer back."""
