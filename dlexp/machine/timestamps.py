"""The current time as text."""

import datetime


def now() -> str:
    """Returns the current time as ISO 8601 in UTC with milliseconds: `2026-11-23T20:15:00.123Z`."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
