"""Every block of code in the README, in docs/ and in CONTRIBUTING is run, in order, and does what its page says."""

import pathlib
import re

import pytest

from tests.docs.output import first_difference
from tests.docs.pages import PAGES, Block, page_id, read_blocks
from tests.docs.reader import Reader
from tests.docs.trees import is_tree, tree_paths
from tests.docs.workspace import write_workspace

NOT_RUN = {
    r"make ": "installs, measures, or runs this very test; test_text checks that the target exists",
    r"python3 -m venv |pip install |\. \.venv/bin/activate": "needs a package index; .ci/run installs through make",
    r"dlexp sweep .*--ray_address=HOST": "needs a Ray cluster; tests/integration/test_ray.py has one",
}


def is_run(command: str) -> bool:
    return not any(re.match(pattern, command) for pattern in NOT_RUN)


def read_runnable(page: pathlib.Path) -> list[Block]:
    """The blocks of a page, without the commands that are not run."""
    blocks = []
    for block in read_blocks(page):
        text = "\n".join(filter(is_run, block.commands())) if block.language == "bash" else block.text
        blocks.append(Block(block.where, block.language, text, block.follows_code))
    return blocks


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_blocks_of_a_page_work_as_they_are_written(page: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    write_workspace(folder)
    reader, printed, trees = Reader(folder), "", []
    for block in read_runnable(page):
        if block.language != "text":
            printed = reader.run(block)
        elif is_tree(block.text):
            trees.append(block)
        elif block.follows_code:
            missing = first_difference(block.text, printed)
            assert not missing, f"{block.where} shows a line that is not printed: {missing!r}. Printed is:\n{printed}"
    for block in trees:
        if block.text.startswith("dlexp/"):
            continue  # the clone, which test_text looks at
        absent = [path for path in tree_paths(block.text) if not any(folder.glob(path))]
        assert not absent, f"{block.where} shows files that are not there after the commands of the page: {absent}"


def test_every_exception_is_needed() -> None:
    commands = [command for page in PAGES for block in read_blocks(page) if block.language == "bash"
                for command in block.commands()]  # fmt: skip
    unused = [pattern for pattern in NOT_RUN if not any(re.match(pattern, command) for command in commands)]
    assert unused == []
