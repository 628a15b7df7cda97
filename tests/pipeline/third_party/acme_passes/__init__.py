"""Passes of another package."""
