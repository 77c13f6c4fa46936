"""Memory that is taken from the system and given back at once, whatever an allocator keeps."""

import mmap


def take_and_give_back(size: int) -> None:
    """Fills `size` bytes of memory for a moment."""
    with mmap.mmap(-1, size) as memory:
        for page in range(0, size, mmap.PAGESIZE):
            memory[page] = 1
