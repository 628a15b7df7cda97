"""The passes, one by one."""
