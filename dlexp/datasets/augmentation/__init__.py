"""Random changes of training images, each a pure function of seed, epoch and example."""
