"""What the pages say of flags, make targets, files and other pages is true."""

import contextlib
import io
import pathlib
import re

import pytest

from dlexp.checkpoints.names import parse_name
from dlexp.commands.cli import main
from tests.docs.pages import LANGUAGES, PAGES, ROOT, Block, page_id, read_blocks
from tests.docs.trees import is_tree, tree_paths

TEXTS = [*PAGES, ROOT / "CHANGELOG.md"]
OF_EVERY_COMMAND = {"flagfile", "help", "debug", "version"}
MAKEFILE = (ROOT / "Makefile").read_text()
_FLAG = re.compile(r"--([a-z][a-z_]*)")
_COMMAND = re.compile(r"`dlexp ((?:data )?[a-z][a-z-]*)([^`]*)`")


def help_of(*words: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["dlexp", *words, "--help"]) == 0
    return out.getvalue()


def listed_commands(*words: str) -> list[str]:
    """The commands that a help text lists, each in two columns with what it does."""
    return re.findall(r"^  ([a-z-]+) +[a-z]", help_of(*words), re.MULTILINE)


@pytest.fixture(scope="module")
def flags_of_commands() -> dict[str, set[str]]:
    """The flags that the help of each command lists; a sweep takes those of a training too."""
    commands = [*listed_commands(), *(f"data {name}" for name in listed_commands("data"))]
    found = {
        command: {*re.findall(r"^  --([a-z_]+)", help_of(*command.split()), re.MULTILINE), *OF_EVERY_COMMAND}
        for command in commands
    }
    found["sweep"] |= found["train"]
    return found


def blocks(language: str) -> list[Block]:
    return [block for page in PAGES for block in read_blocks(page) if block.language == language]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_is_marked_with_its_language(page: pathlib.Path) -> None:
    assert [block.where for block in read_blocks(page) if block.language not in LANGUAGES] == []
    assert page.read_text().count("\n```") % 2 == 0


def test_every_block_of_text_is_checked_by_a_test() -> None:
    unchecked = [
        block.where
        for block in blocks("text")
        if not (block.follows_code or is_tree(block.text) or is_layers(block) or block.text.endswith(".keras\n"))
    ]
    assert unchecked == []


def is_layers(block: Block) -> bool:
    return "|" in block.text.partition("\n")[0] and block.where.startswith("docs/architecture.md")


@pytest.mark.parametrize("page", TEXTS, ids=page_id)
def test_every_flag_that_is_named_exists(page: pathlib.Path, flags_of_commands: dict[str, set[str]]) -> None:
    known = set().union(*flags_of_commands.values())
    lines = [line for line in page.read_text().splitlines() if not line.startswith(("pip ", "python"))]
    assert {name for line in lines for name in _FLAG.findall(line)} - known == set()


@pytest.mark.parametrize("page", TEXTS, ids=page_id)
def test_every_command_in_a_sentence_has_the_flags_it_is_given(
    page: pathlib.Path, flags_of_commands: dict[str, set[str]]
) -> None:
    for command, words in _COMMAND.findall(page.read_text()):
        assert command in flags_of_commands, f"there is no command dlexp {command}"
        assert set(_FLAG.findall(words)) <= flags_of_commands[command], f"dlexp {command}{words}"


@pytest.mark.parametrize("page", TEXTS, ids=page_id)
def test_every_make_target_that_is_named_exists(page: pathlib.Path) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    named = re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)
    assert set(named) - set(phony.split()) == set()


def test_quickstart_is_the_command_that_the_readme_shows() -> None:
    (recipe,) = re.findall(r"^quickstart:.*\n\t(.*)$", MAKEFILE, re.MULTILINE)
    assert recipe.removeprefix("$(BIN)/") + "\n" == read_blocks(ROOT / "README.md")[1].text


@pytest.mark.parametrize("page", TEXTS, ids=page_id)
def test_every_link_leads_to_a_page_and_a_heading(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


@pytest.mark.parametrize("page", TEXTS, ids=page_id)
def test_every_file_of_the_clone_that_is_named_exists(page: pathlib.Path) -> None:
    named = re.findall(r"`((?:dlexp|tests|docs|flags|notebooks)/[\w./-]*)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_tree_of_the_clone_names_what_is_there_and_every_package() -> None:
    (tree,) = (tree_paths(block.text) for block in blocks("text") if block.text.startswith("dlexp/"))
    assert [path for path in tree if not (ROOT / path).exists() and path != "mlruns"] == []
    folder = ROOT / "dlexp"
    parts = [path for path in folder.iterdir() if not path.name.startswith("__")]
    assert {str(path.relative_to(ROOT)) for path in parts} <= set(tree)


def test_layers_are_those_of_the_import_contract() -> None:
    (shown,) = (block.text for block in blocks("text") if is_layers(block))
    text = (ROOT / "setup.cfg").read_text()
    (contract,) = re.findall(
        r"^\[importlinter:contract:layers\]\n(?:.*\n)*?layers =\n((?:    .*\n)+)", text, re.MULTILINE
    )
    assert shown.split("\n") == [line.strip() for line in contract.split("\n")]


def test_the_checkpoint_name_that_is_shown_is_one() -> None:
    shown = [block.text.strip() for block in blocks("text") if block.text.endswith(".keras\n")]
    assert len(shown) == 1
    assert parse_name(shown[0]).kind == "best"
