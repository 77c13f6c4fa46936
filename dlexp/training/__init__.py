"""The training of one model: preparation, compiling, the loop, and what it needs at each step."""
