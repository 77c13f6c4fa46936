"""The orientation of a photo, from the EXIF data of its file."""

import struct

UPRIGHT = 1
SIDEWAYS = range(5, 9)  # orientations in which rows and columns are swapped
_EXIF_PREFIX = b"Exif\0\0"  # in JPEG; some programs write it into WebP by mistake
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
_ORIENTATION_TAG = 0x0112
_NUMBER_KINDS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT (required by the standard), LONG
_ENTRY_BYTES = 12


def read_orientation(exif: bytes) -> int:
    """Reads the orientation, from 1 to 8 (EXIF 2.32, 4.6.4); it is 1 if there is none or the EXIF data is damaged.

    Viewers show a photo with damaged EXIF data as its pixels are stored, so the file is not refused.

    Args:
        exif: a TIFF block (TIFF 6.0, section 2), with or without the prefix that JPEG gives it; may be empty.
    """
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _ORIENTATION_TAG and kind in _NUMBER_KINDS:
                (orientation,) = struct.unpack_from(order + _NUMBER_KINDS[kind], tiff, entry + 8)
                return orientation if 1 <= orientation <= 8 else UPRIGHT
    except struct.error:
        return UPRIGHT
    return UPRIGHT
