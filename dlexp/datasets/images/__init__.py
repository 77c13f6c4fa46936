"""From the bytes of an image file to pixels: formats, orientation, damage, decoding; and scans of many files."""
