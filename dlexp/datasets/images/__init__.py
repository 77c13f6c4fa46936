"""From the bytes of an image file to pixels: formats, orientation, decoding, and the facts of many files."""
