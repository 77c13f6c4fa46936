"""Makes the keys of metrics that are measured by source or by class: different names never share a key."""

import hashlib
import re

_MOST_CHARS = 64
_DIGEST = re.compile(r"(.*-)?[0-9a-f]{8}", re.DOTALL)


def metric_key(name: str) -> str:
    """Returns the part of a metric's key that stands for a source or a class: `photos` in `test_accuracy/photos`.

    MLflow allows letters and digits of every script, `_`, `-`, `.` and space. A name of these, up to 64 characters, is
    its own key. Any other name has the other characters replaced, and ends with a digest of the whole name. A name that
    looks as if it ended so gets a digest too: so no two names have one key.

    Example:
        >>> metric_key("site A"), metric_key("site@A")
        ('site A', 'site-A-2d9b6fbc')
    """
    cleaned = re.sub(r"[^\w.\- ]+", "-", name).strip("-. ")
    if cleaned == name and 0 < len(name) <= _MOST_CHARS and not _DIGEST.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    kept = cleaned[: _MOST_CHARS - len(digest) - 1].strip("-. ")
    return f"{kept}-{digest}" if kept else digest
