"""`dlexp batch-size`: where models come from, what is printed and written, and what is refused; no probe is run."""

import csv
import io
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from dlexp.commands.cli import main
from dlexp.config.flags import config_from_words
from dlexp.memory import largest_batch, throughput
from dlexp.memory.budget import Budget
from dlexp.memory.largest_batch import Candidate, LargestBatch, SearchSettings
from dlexp.memory.throughput import Speed
from tests.support.found_batches import MIB, found_batch

SIZES = {"mlp": 1024, "small_cnn": 256, "resnet20": 64}


class FakeSearch:
    """Finds the batch of a table, and remembers what it was asked."""

    def __init__(self) -> None:
        self.candidates: Sequence[Candidate] = []
        self.budget: Budget | None = None
        self.settings = SearchSettings()

    def __call__(
        self, candidates: Sequence[Candidate], budget: Budget, settings: SearchSettings, **_: Any
    ) -> list[LargestBatch]:
        self.candidates, self.budget, self.settings = candidates, budget, settings
        return [found_batch(one.name, SIZES.get(one.config.model.model), config=one.config) for one in candidates]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.candidates]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> FakeSearch:
    fake = FakeSearch()
    monkeypatch.setattr(largest_batch, "find_largest_batches", fake)
    monkeypatch.chdir(tmp_path)
    return fake


def call(*words: str) -> int:
    return main(["dlexp", "batch-size", "--memory_budget=1GiB", "--device=cpu", *words])


# Where models come from.


def test_model_of_the_flags_is_measured_by_default(search: FakeSearch) -> None:
    assert call("--model=small_cnn", "--image_size=32") == 0
    (candidate,) = search.candidates
    assert (candidate.name, candidate.config.data.image_size) == ("small_cnn", (32, 32))


def test_models_are_given_by_name(search: FakeSearch) -> None:
    assert call("--models=mlp, resnet20,mlp", "--optimizer=sgd") == 0
    assert search.names == ["mlp", "resnet20"]
    assert {one.config.optimization.optimizer for one in search.candidates} == {"sgd"}


def test_combinations_of_a_space_that_may_need_other_memory_are_measured(search: FakeSearch) -> None:
    space = "model=choice(mlp,small_cnn); learning_rate=log(1e-4,1e-1); seed=range(3); mlp.dropout=choice(0,0.5)"
    assert call(f"--space={space}") == 0
    assert search.names == ["mlp model_args=dropout=0", "mlp model_args=dropout=0.5", "small_cnn"]


def test_space_may_be_in_a_file(search: FakeSearch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "space.json").write_text('{"model": {"choice": ["mlp", "resnet20"]}, "seed": {"range": [5]}}')
    assert call("--space_file=space.json") == 0
    assert search.names == ["mlp", "resnet20"]


def test_lines_of_a_runs_file_are_measured(search: FakeSearch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "runs.txt").write_text("--model=mlp --seed=1\n# none\n--model=mlp --seed=2\n--model=resnet20\n")
    assert call("--runs_file=runs.txt") == 0
    assert search.names == ["mlp", "resnet20"]


def test_flagfiles_are_one_training_each_over_the_flags_of_all(search: FakeSearch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "first one.flags").write_text("--model=mlp\n--batch_size=8\n--micro_batch_size=4\n")
    (tmp_path / "second.flags").write_text("--model=resnet20\n--ema_decay=0.5\n")
    assert call("--flagfiles=first one.flags, second.flags", "--optimizer=sgd") == 0
    assert search.names == ["mlp", "resnet20"]
    first, second = (one.config for one in search.candidates)
    assert (first.optimization.ema_decay, second.optimization.ema_decay) == (0.0, 0.5)
    assert first.optimization.optimizer == second.optimization.optimizer == "sgd"


@pytest.mark.parametrize("word", ["--batch_size=auto", "--batch_size=512", "--micro_batch_size=auto"])
@pytest.mark.parametrize("source", ["--models=mlp", "--space=model=choice(mlp,small_cnn)", "--runs_file=runs.txt"])
def test_batch_sizes_of_the_flags_do_not_matter(
    search: FakeSearch, tmp_path: pathlib.Path, source: str, word: str
) -> None:
    (tmp_path / "runs.txt").write_text("--batch_size=512 --micro_batch_size=64\n--model=mlp\n")
    assert call(source, word) == 0
    sizes = {(one.config.data.batch_size, one.config.data.micro_batch_size) for one in search.candidates}
    assert sizes == {(1, 0)}


# What is printed and written.


def test_flagfile_fixes_the_batch_and_a_picture_is_drawn(search: FakeSearch, tmp_path: pathlib.Path) -> None:
    assert call("--models=mlp,resnet20", "--output=a/new folder/batch.flags") == 0
    written = tmp_path / "a" / "new folder" / "batch.flags"
    assert config_from_words([f"--flagfile={written}"]).data.batch_size == 64
    with Image.open(written.with_suffix(".png")) as picture:
        assert picture.format == "PNG"


def test_picture_may_have_another_path(search: FakeSearch, tmp_path: pathlib.Path) -> None:
    assert call("--models=mlp", "--picture=pictures/memory.png") == 0
    assert (tmp_path / "pictures" / "memory.png").is_file()
    assert not (tmp_path / "batch_size.png").exists()


def test_table_is_on_stdout_and_all_else_on_stderr(search: FakeSearch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--models=mlp,resnet20", "--margin=20%") == 0
    shown = capsys.readouterr()
    header, heavy, light = shown.out.splitlines()
    assert header.split()[:3] == ["model", "parameters", "estimate"]
    assert "problem" not in header
    assert (heavy.split()[0], light.split()[0]) == ("mlp", "resnet20")
    for sentence in (
        "measuring 2 models within 1.00 GiB (as given), 20% of it free\n",
        "mlp is the heaviest of 2 models: it needs ",
        "batch_size.flags fixes --batch_size=64 for dlexp train and dlexp sweep; batch_size.png shows the measurements",
    ):
        assert f"dlexp: {sentence}" in shown.err


def test_json_is_a_list_of_flat_numbers(search: FakeSearch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--models=mlp,resnet20", "--format=json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["model"], row["batch_size"], row["peak_bytes"]) for row in rows] == [
        ("mlp", 1024, 1124 * MIB),
        ("resnet20", 64, 164 * MIB),
    ]


def test_csv_has_a_header(search: FakeSearch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--models=mlp", "--format=csv") == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["model"], row["batch_size"], row["problem"]) == ("mlp", "1024", "")


def test_problem_of_a_model_is_a_line_and_the_others_have_a_batch(
    search: FakeSearch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    assert call("--models=mlp,vit_tiny") == 0
    shown = capsys.readouterr()
    assert "vit_tiny has no batch: one example of vit_tiny needs too much" in shown.err
    assert "vit_tiny" in shown.out
    assert (tmp_path / "batch_size.flags").is_file()


@pytest.mark.parametrize("output_format", ["table", "json", "csv"])
def test_no_batch_for_any_model_is_exit_code_1_and_writes_nothing(
    search: FakeSearch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, output_format: str
) -> None:
    assert call("--models=vit_tiny", f"--format={output_format}") == 1
    shown = capsys.readouterr()
    assert ("one example of vit_tiny needs too much" in shown.out) == (output_format != "table")
    assert "vit_tiny has no batch: one example of vit_tiny needs too much" in shown.err
    assert "no model has a batch that fits the budget of 1.00 GiB (as given)" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_settings_of_the_search_are_those_of_the_flags(search: FakeSearch) -> None:
    assert call("--models=mlp", "--multiple_of=8", "--probe_time_limit=90s", "--margin=25%") == 0
    assert search.settings == SearchSettings(multiple_of=8, time_limit_s=90.0)
    assert search.budget == Budget(device="cpu", total_bytes=2**30, margin=0.25, origin="as given")


# Speeds.


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> list[Speed]:
    """What the measurement of speeds returns; a test may change it."""
    found = [
        Speed(batch_size=32, micro_batch_size=16, images_per_second=900.0, peak_bytes=MIB),
        Speed(batch_size=64, micro_batch_size=0, images_per_second=800.0, peak_bytes=2 * MIB),
    ]
    monkeypatch.setattr(throughput, "measure_speeds", lambda *args, **settings: found)
    return found


def test_fastest_sizes_are_written_if_asked_for(
    search: FakeSearch, speeds: list[Speed], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--models=mlp,resnet20", "--throughput") == 0
    data = config_from_words([f"--flagfile={tmp_path}/batch_size.flags"]).data
    assert (data.batch_size, data.micro_batch_size) == (32, 16)
    assert capsys.readouterr().out.splitlines()[-2].split() == ["32", "16", "900", "1.00", "MiB"]


def test_json_holds_no_table_of_speeds(
    search: FakeSearch, speeds: list[Speed], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--models=mlp,resnet20", "--throughput", "--format=json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_largest_batch_is_written_if_no_speed_could_be_measured(
    search: FakeSearch, speeds: list[Speed], tmp_path: pathlib.Path
) -> None:
    speeds.clear()
    assert call("--models=mlp", "--throughput") == 0
    assert config_from_words([f"--flagfile={tmp_path}/batch_size.flags"]).data.batch_size == 1024


# What is refused, before anything is measured.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory_budget=8"], "--memory_budget=8 must be a number with a unit"),
        (["--device=tpu"], "--device=tpu is not known: give auto, cpu, gpu or gpu:N"),
        (["--device=gpu:0"], "--device=gpu:0 is not there"),
        (["--margin=ten"], "--margin=ten must be a share in percent"),
        (["--margin=100%"], "--margin=100% must be a share in percent"),
        (["--multiple_of=-8"], "--multiple_of=-8 must be 0 (powers of two) or more"),
        (["--multiple_of=many"], "it must be a whole number"),
        (["--probe_time_limit=90"], "--probe_time_limit=90 must be a number with a unit"),
        (["--format=tabel"], "did you mean table"),
        (["--models=mlp", "--space=seed=range(2)"], "--models and --space each name models: give one of them"),
        (["--runs_file=a", "--flagfiles=b"], "--runs_file and --flagfiles each name models"),
        (["--models=,"], "--models=, names no model"),
        (["--flagfiles=missing.flags"], "missing.flags"),
        (["--flagfiles=,"], "--flagfiles has no line with flags"),
        (["--runs_file=missing.txt"], "--runs_file=missing.txt cannot be read"),
        (["--space=model=choice()"], "choice"),
        (["--output=file.txt/batch.flags"], "--output=file.txt/batch.flags cannot be written"),
        (["--output=."], "--output=. is a folder: give the path of a file"),
    ],
)
def test_wrong_flags_are_one_sentence_and_exit_code_2(
    words: list[str],
    message: str,
    search: FakeSearch,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file.txt").touch()
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    assert call(*words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("dlexp: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert search.candidates == []


WITHOUT_TENSORFLOW = """
import sys
from dlexp.commands.cli import main
from dlexp.memory import largest_batch
from tests.memory.test_largest_batch import FakeProber, line_of_model

largest_batch.Prober = FakeProber(line_of_model)
code = main(["dlexp", "batch-size", "--models=mlp,resnet2,resnet20", "--memory_budget=1GiB", "--device=cpu"])
print(code, {"tensorflow", "keras", "mlflow"} & set(sys.modules), file=sys.stderr)
"""


def test_command_itself_imports_no_tensorflow_and_names_an_unknown_model(tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW], cwd=tmp_path, env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "0 set()"
    assert "resnet2 has no batch: unknown model 'resnet2': did you mean resnet" in done.stderr
