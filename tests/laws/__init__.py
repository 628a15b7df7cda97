"""What holds for every registered pass."""
