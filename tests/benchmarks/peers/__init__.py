"""Scripts that a user would write without dlexp; each one runs in a separate environment with its libraries."""
