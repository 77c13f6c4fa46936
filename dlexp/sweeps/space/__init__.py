"""The space of a sweep: parameters, their grammar, and the configs that they give."""
