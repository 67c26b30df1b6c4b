"""A model server that speaks TensorFlow Serving's protocol, over gRPC and REST."""
