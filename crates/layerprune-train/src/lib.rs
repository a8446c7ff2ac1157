//! Trains an ONNX graph on the CPU.
