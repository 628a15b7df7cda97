"""Single faults in passes, and whether verification keeps their results out of the model."""
