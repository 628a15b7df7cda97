"""The onnx package's own backend models, through a pipeline."""
