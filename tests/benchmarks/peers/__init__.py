"""What a user would write without dlexp; each is run with the libraries of its own environment."""
