"""Results that a device wrote, compared with those of another device or of the model."""
