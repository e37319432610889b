"""Networks by name, and the activations of their layers."""
