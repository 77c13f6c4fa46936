"""How fast dlexp is, beside what one would write by hand; `make bench` prints the table."""
