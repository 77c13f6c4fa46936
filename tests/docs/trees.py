"""Pictures of folders in the pages: which paths they name."""

import re

_NAME = re.compile(r"^(?P<indent> *)(?P<name>\S+)")


def is_tree(text: str) -> bool:
    """Whether a block shows a folder: its first line is one, and the next is indented."""
    first, _, rest = text.partition("\n")
    return first.split(" ")[0].endswith("/") and rest.startswith("  ")


def tree_paths(text: str) -> list[str]:
    """The paths that a tree names, as patterns: `<run_id>` stands for any name."""
    paths: list[str] = []
    parents: list[str] = []
    for line in text.splitlines():
        match = _NAME.match(line)
        if match is None:
            continue
        depth, name = len(match["indent"]) // 2, re.sub(r"<\w+>", "*", match["name"])
        parents = [*parents[:depth], name]
        paths.append("".join(parents).rstrip("/"))
    return paths
