"""The search space of a sweep: its parameters, their grammar, and the configs made from them."""
