"""The drivers."""
