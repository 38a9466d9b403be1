"""ONNX graphs read without the onnx package: nodes, and the shapes and few values between them."""
