"""What is called at each step and epoch of a training, in an order that matters."""
