"""The rewriting engine, with small passes of its own."""
