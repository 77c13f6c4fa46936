"""The pages that people read, cut into their blocks of code."""

import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "mlruns" / "README.md", *sorted(ROOT.glob("docs/*.md"))]
LANGUAGES = ("bash", "python", "text")
_BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEREDOC = re.compile(r"<<\s*'?(\w+)'?")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        where: page and line, for messages.
        language: what the block is marked with; empty if it is not marked.
        text: without the fences.
        follows_code: nothing but space is between it and the block above, so it shows what that one prints.
    """

    where: str
    language: str
    text: str
    follows_code: bool

    def commands(self) -> Iterator[str]:
        """The commands of a bash block; one that goes over several lines is one command."""
        lines = iter(self.text.splitlines())
        for line in lines:
            command = line
            while command.endswith("\\"):
                command = f"{command}\n{next(lines)}"
            if ends := _HEREDOC.search(command):
                while not command.endswith(f"\n{ends[1]}"):
                    command = f"{command}\n{next(lines)}"
            if command.strip() and not command.startswith("#"):
                yield command

    def file_name(self) -> str:
        """The file that a Python block is to be saved as: its first line names it; empty if it is only run."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if named else ""


def read_blocks(page: pathlib.Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    end = 0
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        follows = bool(blocks) and not text[end : match.start()].strip()
        blocks.append(Block(f"{page.relative_to(ROOT)}:{line}", match[1], match[2], follows))
        end = match.end()
    return blocks


def page_id(page: pathlib.Path) -> str:
    """How tests name a page."""
    return str(page.relative_to(ROOT))
