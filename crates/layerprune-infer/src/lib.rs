//! Runs and times ONNX models.
