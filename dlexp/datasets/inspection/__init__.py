"""What a dataset holds and what is wrong with it: description, damage, copies, leaks, verification."""
