"""Where trials run: the contract of a launcher, and processes of this machine."""
