"""Other people's passes."""
