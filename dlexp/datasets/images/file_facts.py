"""The facts of an image file, from reading every byte once: digest, size and damage.

`python -m dlexp.datasets.images.file_facts` reads files for the process that starts it, and ends with that process. A
line of stdin is a JSON list of paths; the answer is a line of stdout, a JSON list of what `scan_file` returns for each
path. It imports neither pandas nor NumPy, so that it starts fast.
"""

import hashlib
import json
import signal
import sys
from typing import Any

from dlexp.datasets.images.image_header import UnreadableImageError
from dlexp.datasets.images.imagefile import inspect_image
from dlexp.machine.console import silence_pillow

FACTS = ("digest", "height", "width", "channels", "mode", "orientation", "decoder", "pages", "peak", "damage")
UNKNOWN = (0, 0, 0, "", 1, 0, 1, 0)  # the FACTS between digest and damage, for a file that cannot be read


def scan_file(path: str) -> tuple[Any, ...]:
    """Returns the facts of a file, in the order of `FACTS`; the digest is "" if the file cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except OSError as err:
        return "", *UNKNOWN, err.strerror or str(err)
    return read_facts(data)


def read_facts(data: bytes) -> tuple[Any, ...]:
    """Returns the facts of an image file from its bytes, in the order of `FACTS`."""
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    try:
        header = inspect_image(data)
    except UnreadableImageError as err:
        return digest, *UNKNOWN, str(err)
    size = header.height, header.width, header.channels
    return digest, *size, header.mode, header.orientation, int(header.decoder), header.pages, header.peak, ""


def main() -> None:
    """Answers each line of stdin until there are no more."""
    silence_pillow()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # if nobody reads the answer, the process ends silently
    for line in sys.stdin.buffer:
        print(json.dumps([scan_file(path) for path in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
