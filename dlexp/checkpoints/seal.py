"""The seal of a checkpoint: a digest of the whole file, in the comment that ends a zip archive.

The checksums of a zip cover only its members: a flipped bit in a header could go unnoticed, or change the model.
"""

import hashlib
import pathlib

from dlexp.errors import CheckpointError

_PREFIX = b"dlexp blake2b "
_DIGITS = 32
UNSEALED = _PREFIX + b"0" * _DIGITS  # the comment of an archive that is not sealed yet


def seal(path: pathlib.Path) -> None:
    """Overwrites the zeros of `UNSEALED`, which end the file, with the digest of all bytes before them."""
    digest = _digest(path)
    with path.open("r+b") as file:
        file.seek(-_DIGITS, 2)
        file.write(digest)


def check_seal(path: pathlib.Path) -> None:
    """Raises CheckpointError unless the file is bit for bit the one that was sealed."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _DIGITS - len(_PREFIX)))
        found = file.read()
    if found != _PREFIX + _digest(path):
        raise CheckpointError(
            f"checkpoint {str(path)!r} is damaged: its bytes are not those that were written; use another checkpoint "
            "of the run"
        )


def _digest(path: pathlib.Path) -> bytes:
    left = path.stat().st_size - _DIGITS
    digest = hashlib.blake2b(digest_size=_DIGITS // 2)
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest().encode()
