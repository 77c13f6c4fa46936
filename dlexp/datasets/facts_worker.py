"""`python -m dlexp.datasets.facts_worker`: reads image files for whoever started it, and ends when that ends.

A line of stdin is a JSON list of paths; the line of stdout that answers it is a JSON list of what `scan_file` says of
each. The kernel closes stdin however the starter ends.
"""

import json
import signal
import sys

from dlexp.datasets.images.facts import scan_file


def main() -> None:
    """Answers lines until there are no more."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody hears the answer: then it ends without a word
    for line in sys.stdin.buffer:
        print(json.dumps([scan_file(path) for path in json.loads(line)]), flush=True)


if __name__ == "__main__":
    main()
