"""Passes, pipelines of them, and the manager that runs one."""
