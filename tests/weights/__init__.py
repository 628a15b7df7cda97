"""Models without their weights."""
