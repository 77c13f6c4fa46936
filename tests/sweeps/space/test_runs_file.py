"""A file of command lines as a sweep: what is read from a line, and what is refused."""

import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.spelling import config_to_flagfile
from dlexp.errors import ConfigError
from dlexp.sweeps.space.runs_file import Commands

BASE = ExperimentConfig.of(model="resnet20", model_args={"dropout": 0.5}, epochs=5, tags={"team": "a b"})


def read(folder: pathlib.Path, text: str, base: ExperimentConfig = BASE) -> Commands:
    path = folder / "runs.txt"
    path.write_text(text, encoding="utf-8")
    return Commands.read(path, base)


def points(folder: pathlib.Path, text: str) -> list[dict[str, Any]]:
    return list(read(folder, text).grid())


def test_each_line_is_a_point_in_the_order_of_the_file(tmp_path: pathlib.Path) -> None:
    commands = read(tmp_path, "--seed=3\n--seed=1\n--seed=3\n")
    assert list(commands.grid()) == [{"seed": 3}, {"seed": 1}, {"seed": 3}]
    assert commands.grid_size() == 3


def test_comments_and_empty_lines_are_passed_over(tmp_path: pathlib.Path) -> None:
    text = "# forty runs\n\n  --seed=1  # the first\n\t\n--dataset_name='a#b'\n"
    assert points(tmp_path, text) == [{"seed": 1}, {"dataset_name": "a#b"}]


@pytest.mark.parametrize(
    ("line", "point"),
    [
        ("--dataset='folder:/my images'", {"dataset": "folder:/my images"}),
        ('--dataset="folder:/it\'s here"', {"dataset": "folder:/it's here"}),
        (r"--dataset=folder:/my\ images", {"dataset": "folder:/my images"}),
        ("--model_args='{\"depth\": 3}'", {"model_args": {"depth": 3}}),
        ("--model_args=depth=3,dropout=0", {"model_args": {"depth": 3, "dropout": 0}}),
        ("--image_size=32x48 --augment=flip,crop", {"image_size": [32, 48], "augment": ["flip", "crop"]}),
        ("--model_args=", {"model_args": {}}),
        ("--epochs 7 --deterministic", {"epochs": 7, "deterministic": True}),
        ("--nodeterministic --epochs=7", {"epochs": 7}),
    ],
)
def test_words_are_read_as_a_shell_reads_them(tmp_path: pathlib.Path, line: str, point: dict[str, Any]) -> None:
    assert points(tmp_path, line) == [point]


@pytest.mark.parametrize("command", ["", "dlexp train ", "python -m dlexp.main ", "  dlexp   train  "])
def test_the_command_may_stand_in_front(tmp_path: pathlib.Path, command: str) -> None:
    assert points(tmp_path, f"{command}--seed=1") == [{"seed": 1}]


def test_a_point_holds_the_differences_to_the_base_alone(tmp_path: pathlib.Path) -> None:
    line = "--model=mlp --epochs=5 --learning_rate=0.001 --weight_decay=0.1"
    assert points(tmp_path, line) == [{"model": "mlp", "weight_decay": 0.1}]


def test_a_line_like_the_base_is_a_point_without_changes(tmp_path: pathlib.Path) -> None:
    commands = read(tmp_path, "dlexp train")
    assert list(commands.grid()) == [{}]
    assert commands.config({}) == BASE


def test_where_runs_are_written_is_the_affair_of_the_sweep_but_names_and_tags_are_not(tmp_path: pathlib.Path) -> None:
    line = "--store=elsewhere --tracking_uri=http://a --wandb --run_name=mine --tags=note=x"
    assert points(tmp_path, line) == [{"run_name": "mine", "tags": {"note": "x"}}]


def test_a_flagfile_may_be_given(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run.flags").write_text("--model=mlp\n--seed=4\n", encoding="utf-8")
    assert points(tmp_path, f"--flagfile={tmp_path}/run.flags --seed=5") == [{"model": "mlp", "seed": 5}]


def test_the_flagfile_of_a_run_gives_its_config(tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(model="mlp", model_args={"width": "a,b"}, image_size=(8, 9), augment=("flip",), seed=3)
    (tmp_path / "run.flags").write_text(config_to_flagfile(config), encoding="utf-8")
    commands = read(tmp_path, f"dlexp train --flagfile={tmp_path}/run.flags")
    assert [config.digest() for config in commands.corner_configs()] == [config.digest()]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--learning_rat=0.1", "did you mean --learning_rate"),
        ("--epochs=many", "epochs"),
        ("--epochs=0", "epochs=0 is out of range"),
        ("--lr_schedule=cosin", "did you mean cosine"),
        ("epochs=3", "'epochs=3' is not a flag"),
        ("dlexp predict --seed=1", "'dlexp' is not a flag"),
        ("--dataset='folder:", "No closing quotation"),
        ("--seed=1 \\", "No escaped character"),
        ("--flagfile=missing.flags", "missing.flags"),
        ("--epochs=3 --warmup_epochs=4", "must be less than epochs=3"),
    ],
)
def test_a_line_that_is_wrong_is_named_by_its_number(tmp_path: pathlib.Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, f"# first\n\n--seed=1\n{line}\n--seed=2\n")
    assert str(refusal.value).startswith(f"--runs_file={tmp_path}/runs.txt, line 4: ")
    assert message in str(refusal.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n"])
def test_a_file_without_a_run_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"runs\.txt has no line with flags: write the flags of one run per line"):
        read(tmp_path, text)


def test_a_file_that_is_too_large_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match=r"runs\.txt of 1,000,001 characters is too large: at most 1,000,000"):
        read(tmp_path, "#" * 1_000_001)


@pytest.mark.parametrize("content", [None, b"\xff\xfe--seed=1"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: pathlib.Path, content: bytes | None) -> None:
    path = tmp_path / "runs.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"--runs_file={path} cannot be read: "):
        Commands.read(path, BASE)


def test_the_mark_that_windows_editors_begin_a_file_with_is_no_word(tmp_path: pathlib.Path) -> None:
    assert points(tmp_path, "\ufeff--seed=1") == [{"seed": 1}]


def test_label_tells_what_the_line_changes(tmp_path: pathlib.Path) -> None:
    commands = read(tmp_path, "--model=mlp --seed=3\n--epochs=5\n")
    assert [commands.label(point) for point in commands.grid()] == ["model=mlp seed=3", "as given"]


def test_another_base_keeps_the_changes(tmp_path: pathlib.Path) -> None:
    commands = read(tmp_path, "--seed=3").with_base(BASE.replace(epochs=9))
    assert [config.flat()["epochs"] for config in commands.corner_configs()] == [9]
    assert [config.seed for config in commands.corner_configs()] == [3]


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 99),
        "learning_rate": st.floats(1e-9, 10),
        "dataset_name": st.text("abc -_'\"#\\é", min_size=1, max_size=5).map(str.strip),
        "image_size": st.tuples(st.integers(1, 99), st.integers(1, 99)).map(list),
        "model_args": st.dictionaries(
            st.sampled_from(["depth", "note"]), st.integers() | st.booleans() | st.text(max_size=5)
        ),
    },
)


@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_json_is_read_back_as_equal_commands(changes: list[dict[str, Any]]) -> None:
    commands = Commands(BASE, changes)
    assert Commands.from_json(commands.to_json(), BASE) == commands


@given(CHANGES)
def test_the_flags_of_a_config_in_a_line_give_that_config(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    config = BASE.replace(**changes)
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run.flags").write_text(config_to_flagfile(config), encoding="utf-8")
    commands = read(folder, f"--flagfile={folder}/run.flags")
    (point,) = commands.grid()
    assert commands.config(point) == config
    assert point.keys() <= changes.keys()


def test_combinations_are_the_configs_of_all_lines_whatever_the_fields(tmp_path: pathlib.Path) -> None:
    commands = read(tmp_path, "--seed=3\n--model=mlp\n")
    assert [config.seed for config in commands.combinations(())] == [3, 0]
    assert [config.model.model for config in commands.combinations({"model"})] == ["resnet20", "mlp"]


def test_batch_size_of_the_base_may_be_still_to_be_chosen(tmp_path: pathlib.Path) -> None:
    commands = read(tmp_path, "--seed=3\n--batch_size=8\n", BASE.replace(batch_size="auto"))
    assert list(commands.grid()) == [{"seed": 3}, {"batch_size": 8}]
    assert [config.data.has_auto_size for config in commands.corner_configs()] == [True, False]


def test_lines_may_come_from_elsewhere_than_a_file() -> None:
    commands = Commands.parse(["--seed=3", "", "--seed=4"], BASE, origin="--flagfiles")
    assert list(commands.grid()) == [{"seed": 3}, {"seed": 4}]
    with pytest.raises(ConfigError, match=r"^--flagfiles, line 2: "):
        Commands.parse(["--seed=3", "--sed=4"], BASE, origin="--flagfiles")
