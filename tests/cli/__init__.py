"""The command line: exit codes, what goes where, and what it says."""
