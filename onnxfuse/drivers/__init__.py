"""Thin hand-offs to other people's programs: argument lists in, parsed facts out."""
