"""Flagfiles: read where they stand, one within another, and presets from any folder."""

import pathlib

import pytest

from dlexp.config.flags import config_from_words
from dlexp.config.presets import PRESETS_FOLDER, expand_flagfiles, preset_names
from dlexp.errors import ConfigError

CLONE = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_presets_are_those_of_the_clone() -> None:
    assert preset_names() == sorted(f"flags/{path.name}" for path in (CLONE / "flags").iterdir())


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_found_from_any_folder(name: str) -> None:
    text = (PRESETS_FOLDER / pathlib.Path(name).name).read_text()
    expected = [line for line in text.splitlines() if not line.startswith("#")]
    assert expand_flagfiles([f"--flagfile={name}"]) == expected


def test_a_file_of_the_working_directory_comes_before_a_preset(folder: pathlib.Path) -> None:
    (folder / "flags").mkdir()
    (folder / "flags" / "quickstart.flags").write_text("--seed=7\n")
    assert expand_flagfiles(["--flagfile=flags/quickstart.flags"]) == ["--seed=7"]


@pytest.mark.parametrize("words", [["--flagfile=my.flags"], ["-flagfile=my.flags"], ["--flagfile", "my.flags"]])
def test_flags_stand_in_the_place_of_their_file(folder: pathlib.Path, words: list[str]) -> None:
    (folder / "my.flags").write_text("# two flags\n\n--seed=3\n  --epochs=2  \n")
    assert expand_flagfiles(["--seed=1", *words, "--seed=4"]) == ["--seed=1", "--seed=3", "--epochs=2", "--seed=4"]


def test_what_follows_two_dashes_is_left_alone() -> None:
    words = ["--seed=1", "--", "--flagfile=no.flags"]
    assert expand_flagfiles(words) == words


def test_an_own_file_may_begin_with_a_preset(folder: pathlib.Path) -> None:
    (folder / "own.flags").write_text("--flagfile=flags/resnet20.flags\n--epochs=2\n")
    config = config_from_words(["--flagfile=own.flags"])
    assert (config.model.model, config.optimization.epochs) == ("resnet20", 2)


def test_an_empty_path_stands_for_no_flags() -> None:
    assert expand_flagfiles(["--flagfile=", "--seed=1"]) == ["--seed=1"]


def test_a_file_that_leads_back_to_itself_is_refused(folder: pathlib.Path) -> None:
    (folder / "a.flags").write_text("--flagfile=b.flags\n")
    (folder / "b.flags").write_text("--flagfile=a.flags\n")
    with pytest.raises(ConfigError, match=r"'a\.flags' reads itself"):
        expand_flagfiles(["--flagfile=a.flags"])


def test_a_missing_file_is_refused_with_the_presets(folder: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=rf"'no\.flags' .*No such file.*from {folder}, or a preset: .*quickstart"):
        expand_flagfiles(["--flagfile=no.flags"])


def test_a_file_that_is_no_text_is_refused(folder: pathlib.Path) -> None:
    (folder / "my.flags").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"'my\.flags' is not UTF-16 text \(truncated data"):
        expand_flagfiles(["--flagfile=my.flags"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_flagfile_as_editors_and_powershell_write_it_is_read(
    tmp_path: pathlib.Path, encoding: str, line_end: str
) -> None:
    lines = ["--dataset=folder:Fotos Zürich", "# a comment", "--epochs=3"]
    path = tmp_path / "my.flags"
    path.write_bytes(line_end.join(lines).encode(encoding))
    assert expand_flagfiles([f"--flagfile={path}"]) == [lines[0], lines[2]]


@pytest.mark.parametrize("content", ["--epochs=3".encode("utf-16-le"), b"--run_name=Z\xfcrich", b"\xff\xfe-\x00-"[:5]])
def test_flagfile_in_an_unknown_encoding_is_refused_in_one_sentence(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "my.flags"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^flagfile .*my\.flags.*: save it as UTF-8$"):
        expand_flagfiles([f"--flagfile={path}"])
