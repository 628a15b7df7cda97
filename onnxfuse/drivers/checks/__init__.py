"""What is found before a model is handed to a compiler: in its options, and in its graph."""
