"""Pipelines as text and the registry of passes."""
