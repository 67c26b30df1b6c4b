"""From a trained model to devices. `edge_model` needs only LiteRT and NumPy."""
