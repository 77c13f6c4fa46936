"""Inspects the bytes of an image file before they are decoded: size, mode, orientation, and whether they are damaged.

The rules for the pixels of an image, in every file format:
    1. The image is upright, as a viewer shows it: EXIF orientation is applied. That in XMP or in the text chunks of a
       PNG is not, as in most viewers.
    2. It is grey (1 channel) or colour (3), which only the type of the file decides. A palette is colour, even if it
       holds only greys.
    3. Transparent pixels are composited over white, the background of documents and web pages: black ink stays visible.
    4. Values of 16 bits lose their lower 8 (value >> 8); if they hold fewer bits, the dataset says so with `bits`, and
       they lose all but the upper 8 of these. Values of 1, 2 and 4 bits are scaled to 0 to 255. Values
       without a fixed range are refused: floating-point numbers, integers of 32 bits, Lab.
    5. Pillow converts CMYK and YCbCr to RGB. Colour profiles are ignored in every file.
    6. The image of an animation is its first frame, that of a file of several pages its first page, and that of an icon
       its largest; that of an APNG is its default image.
    7. It has at most `MAX_PIXELS` pixels.
"""

from dlexp.datasets.images import jpeg_file, pillow_file, png_file
from dlexp.datasets.images.image_header import ImageHeader, UnreadableImageError

# In the order in which people know them. What is in a file decides how it is read, not its ending.
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".ico", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".pcx", ".qoi", ".sgi"),
)


def inspect_image(data: bytes) -> ImageHeader:
    """Reads the header of an image file and looks for damage, for PNG and JPEG without decoding all pixels.

    What it accepts can be decoded, but for a PNG that its program wrote wrongly behind the first pixels: see `png_file`
    and `jpeg_file`. The other formats are decoded, after their size has been checked.

    Raises:
        UnreadableImageError: empty, not an image, damaged, too large, or of a kind that cannot be decoded.
    """
    if not data:
        raise UnreadableImageError("it has zero bytes")
    if data.startswith(jpeg_file.SIGNATURE):
        return jpeg_file.inspect_jpeg(data)
    if data.startswith(png_file.SIGNATURE):
        return png_file.inspect_png(data)
    return pillow_file.inspect_with_pillow(data)
