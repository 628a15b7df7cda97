"""Generated models through the presets, and through `verify`."""
