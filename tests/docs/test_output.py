"""The comparison of shown and printed output, and the reading of pages: else a test of the pages shows nothing."""

import pytest

from tests.docs.output import first_difference
from tests.docs.pages import Block
from tests.docs.trees import is_tree, tree_paths

PRINTED = """photos (c4fee4b770cbf07f): 180 examples in 3 classes
cat            43 (70.5%)
dog            41 (69.5%)
run            first (abcdefab)
/tmp/x/mlruns
"""


@pytest.mark.parametrize(
    "shown",
    [
        "photos (1265fbfe182d50d8): 99 examples in 2 classes\ndog  1 (2%)",
        "cat 1 (2%)\n...\n/home/me/mlruns",
        "photos (0): ...",
        "run  first (53cb70ee)",
    ],
)
def test_numbers_ids_and_paths_may_differ(shown: str) -> None:
    assert first_difference(shown, PRINTED) == ""


@pytest.mark.parametrize(
    "shown",
    [
        "horse          41 (69.5%)",
        "dog  1 (2%)\ncat  1 (2%)",
        "cat",
        "photos (0): 1 pictures ...",
        "run  second (53cb70ee)",
    ],
)
def test_other_words_and_another_order_are_found(shown: str) -> None:
    assert first_difference(shown, PRINTED) == shown.splitlines()[-1]


def test_commands_may_go_over_several_lines() -> None:
    text = "a \\\n  b\n\n# a note\ncat > f <<'EOF'\nc\n# d\nEOF\ne\n"
    assert list(Block("page:1", "bash", text, False).commands()) == ["a \\\n  b", "cat > f <<'EOF'\nc\n# d\nEOF", "e"]


def test_paths_of_a_tree() -> None:
    text = "runs/<run_id>/\n  a/     a folder\n    b.txt\n  c.txt  a file\nd/\n"
    assert is_tree(text)
    assert tree_paths(text) == ["runs/*", "runs/*/a", "runs/*/a/b.txt", "runs/*/c.txt", "d"]
