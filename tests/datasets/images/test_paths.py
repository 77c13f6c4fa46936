"""Which files the words of a command line name."""

import io
import logging
import os
import pathlib

import pytest

from dlexp.datasets.images.paths import LeftOutCounter, check_words, find_images, read_list
from dlexp.errors import DataError

IN_ONE = ["photos/one/x.png", "photos/one/deep/y.png"]


@pytest.fixture
def tree(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """photos/ with b.png, a.JPG, notes.txt, .hidden.png, one/x.png, one/deep/y.png, .dot/z.png."""
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "one/x.png", "one/deep/y.png", ".dot/z.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def find(*words: str) -> list[str]:
    return list(find_images(words))


@pytest.mark.usefixtures("tree")
def test_folder_stands_for_its_images_sorted_files_before_sub_folders() -> None:
    assert find("photos") == ["photos/a.JPG", "photos/b.png", *IN_ONE]


@pytest.mark.usefixtures("tree")
def test_file_that_is_named_is_taken_whatever_its_ending() -> None:
    assert find("photos/notes.txt", "photos/.hidden.png") == ["photos/notes.txt", "photos/.hidden.png"]


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("photos/*.png", ["photos/b.png"]),
        ("photos/?.[jJ]*", ["photos/a.JPG"]),
        ("*/one/*.png", ["photos/one/x.png"]),
        ("photos/*", ["photos/a.JPG", "photos/b.png", "photos/notes.txt", *IN_ONE]),
        ("**/*.png", ["photos/b.png", *IN_ONE]),
        ("photos/**/*", ["photos/a.JPG", "photos/b.png", "photos/notes.txt", *IN_ONE]),
        ("photos/**", ["photos/a.JPG", "photos/b.png", *IN_ONE]),
        ("photos/**/deep/*.png", ["photos/one/deep/y.png"]),
        ("photos/.h*", ["photos/.hidden.png"]),
        ("photos/*/nothing/*.png", []),
    ],
)  # fmt: skip
def test_pattern_is_expanded_in_a_stable_order(pattern: str, found: list[str]) -> None:
    assert find(pattern) == found


def test_absolute_pattern_gives_absolute_paths(tree: pathlib.Path) -> None:
    assert find(f"{tree}/*.png") == [str(tree / "b.png")]


def test_name_with_brackets_is_taken_literally_where_it_is_there(tree: pathlib.Path) -> None:
    (tree / "b[1].png").touch()
    (tree / "b1.png").touch()
    assert find("photos/b[1].png") == ["photos/b[1].png"]
    (tree / "b[1].png").unlink()
    assert find("photos/b[1].png") == ["photos/b1.png"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tree: pathlib.Path) -> None:
    (tree / "one" / "loop").symlink_to(tree)
    (tree / "one" / "link.png").symlink_to(tree / "b.png")
    (tree / "one" / "dangling.png").symlink_to(tree / "nowhere")
    assert find("photos/one") == ["photos/one/dangling.png", "photos/one/link.png", *IN_ONE]
    assert find("photos/**/y.png") == ["photos/one/deep/y.png"]


def test_pipe_in_a_folder_is_passed_over(tree: pathlib.Path) -> None:
    os.mkfifo(tree / "one" / "pipe.png")
    assert find("photos/one") == IN_ONE


@pytest.mark.usefixtures("tree")
def test_what_is_named_twice_comes_twice() -> None:
    assert find("photos/b.png", "photos/*.png") == ["photos/b.png"] * 2


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("word", "message"), [("photo", "no file or folder 'photo'"), ("photos/*.gif", "'photos/.*.gif' matches nothing")]
)
def test_word_that_names_nothing_is_told(word: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_words(["photos", word])


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"", []),
        (b"a.png\nb c.png\n\n", ["a.png", "b c.png"]),
        (b"a.png\r\nb.png\r\n", ["a.png", "b.png"]),
        (b"a\n.png\0b.png\0", ["a\n.png", "b.png"]),
        ("ä.png".encode() + b"\n\xff.png", ["ä.png", "\udcff.png"]),
    ],
)
def test_list_is_separated_by_newlines_or_by_nul(data: bytes, paths: list[str]) -> None:
    assert list(read_list(io.BytesIO(data))) == paths


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_list_in_utf_16_is_refused_as_a_slash_in_it_would_be_the_whole_disk(encoding: str) -> None:
    with pytest.raises(DataError, match="seems to be UTF-16: save it as UTF-8"):
        list(read_list(io.BytesIO("a/b.png\nc.png\n".encode(encoding))))


def test_byte_order_mark_of_a_list_is_no_part_of_its_first_path() -> None:
    assert list(read_list(io.BytesIO(b"\xef\xbb\xbfa.png\nb.png"))) == ["a.png", "b.png"]


@pytest.mark.parametrize("separator", ["\n", "\0"])
def test_list_of_many_blocks_loses_nothing(separator: str) -> None:
    paths = [f"folder/{number}.png" for number in range(20_000)]
    assert list(read_list(io.BytesIO(separator.join(paths).encode()))) == paths


def test_what_lies_in_a_folder_but_is_no_image_is_counted_by_kind_and_ending(tree: pathlib.Path) -> None:
    for name in ("c.PSD", "one/d.psd", "one/deep/e.xyz", "plain", "Thumbs.db"):
        (tree / name).touch()
    (tree / "again").symlink_to("one")
    (tree / "gone.txt").symlink_to("nowhere.txt")
    os.mkfifo(tree / "pipe.png")
    counts = LeftOutCounter()
    assert list(find_images(["photos"], left_out=counts)) == ["photos/a.JPG", "photos/b.png", *IN_ONE]
    assert counts == {
        ("hidden", ""): 2,
        ("picture", ".psd"): 2,
        ("other_ending", ".xyz"): 1,
        ("other_ending", "without an ending"): 1,
        ("sidecar", ".txt"): 1,
        ("sidecar", ".db"): 1,
        ("folder_link", "photos/again"): 1,
        ("broken_link", ""): 1,
        ("no_file", ".png"): 1,
    }


@pytest.mark.usefixtures("tree")
def test_from_python_what_is_left_out_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        find("photos")
    assert "left out: 1 file that accompanies images (1 .txt), 2 hidden files or folders" in caplog.text


def test_link_in_a_circle_does_not_hide_the_other_files_of_its_folder(tree: pathlib.Path) -> None:
    (tree / "one" / "circle.png").symlink_to("circle.png")
    assert find("photos/one") == ["photos/one/circle.png", "photos/one/x.png", "photos/one/deep/y.png"]
