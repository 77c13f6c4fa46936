"""`dlexp compare` as it is typed."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from dlexp.commands.cli import main
from tests.support.compared_runs import make_run


@pytest.fixture
def store(tmp_path: pathlib.Path) -> str:
    """Four seeds of two models; mlp is better."""
    for seed in range(4):
        make_run(tmp_path, 0.90 + seed / 100, model="small_cnn", seed=seed)
        make_run(tmp_path, 0.95 + seed / 90, model="mlp", seed=seed)
    return str(tmp_path)


def call(store: str, *words: str) -> int:
    return main(["dlexp", "compare", "--where=status == 'FINISHED'", f"--store={store}", *words])


def test_prints_a_table_and_a_verdict(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(store) == 0
    head, *rows, verdict = capsys.readouterr().out.splitlines()
    assert head.startswith("group")
    assert len(rows) == 2
    assert verdict.startswith("model=mlp is better than model=small_cnn by 5.17 points")


def test_runs_of_one_setting_are_described_and_not_compared(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        make_run(tmp_path, 0.9 + seed / 100, seed=seed)
    assert call(str(tmp_path)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("nothing is compared: the runs are one group")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--baseline=model=small_cnn"], 0),
        (["--margin=20"], 10),
        (["--baseline=model=mlp"], 11),
    ],
)
def test_exit_code_is_the_verdict(store: str, words: list[str], code: int) -> None:
    assert call(store, "--verdict", *words) == code


def test_exit_code_of_an_undecided_comparison_is_12(store: str, tmp_path: pathlib.Path) -> None:
    for seed, accuracy in enumerate([0.97, 0.89, 0.95, 0.93]):
        make_run(tmp_path / "other", accuracy, model="mlp", seed=seed)
        make_run(tmp_path / "other", 0.94, model="small_cnn", seed=seed)
    assert call(str(tmp_path / "other"), "--verdict") == 12


def test_strict_ends_with_1_if_the_comparison_is_not_fair(
    store: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(store, "--strict") == 0
    make_run(tmp_path, 0.9, model="resnet20", batch_size=128)
    assert call(store, "--strict") == 1
    assert re.search(r"not fair: batch_size differs \(model=small_cnn.*: 64; .*: 128\)", capsys.readouterr().out)


def test_json_has_verdicts_disagreements_and_every_number(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(store, "--format=json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["metric"] == "test_accuracy"
    assert values["verdicts"][0]["outcome"] == "better"
    assert values["disagreements"] == []
    assert {"mean", "sd", "low", "high", "p"} <= set(values["groups"][0])


@pytest.mark.parametrize("output_format", ["csv", "markdown", "latex"])
def test_other_formats_keep_sentences_out_of_stdout(
    store: str, output_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(store, f"--format={output_format}") == 0
    printed = capsys.readouterr()
    assert "is better than" not in printed.out
    assert "is better than" in printed.err


def make_sweep(store: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        right = rng.random(200) < 0.9
        make_run(store, float(right.mean()), learning_rate=0.01 * (number + 1), validation=right, record={"sweep": "s"})


def test_sweep_shows_the_luck_of_its_winner(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path)
    assert main(["dlexp", "compare", "--sweep=s", f"--store={tmp_path}"]) == 0
    head, first, *_, luck, rivals = capsys.readouterr().out.splitlines()
    assert head.split() == ["learning_rate", "runs", "val_accuracy", "wins", "p"]
    assert first.split()[-1] == "winner"
    assert re.search(r"best of 6 settings: .* points are luck \(corrected: 0\.\d{4}\)", luck)
    assert re.match(r"\d settings cannot be told from the best", rivals)


def test_sweep_as_json_has_every_setting(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path)
    assert main(["dlexp", "compare", "--sweep=s", f"--store={tmp_path}", "--format=json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert len(values["settings"]) == 6
    assert values["optimism"] == pytest.approx(values["settings"][0]["validation"] - values["corrected"])


def test_sweep_is_compared_by_columns_like_other_runs(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path)
    assert main(["dlexp", "compare", "--sweep=s", "--group_by=learning_rate", f"--store={tmp_path}"]) == 0
    assert capsys.readouterr().out.count("learning_rate=") >= 6


@pytest.mark.parametrize("flag", ["--output=report.html", "--strict", "--verdict", "--margin=1", "--baseline=latest"])
def test_flags_of_groups_are_refused_for_a_whole_sweep(
    tmp_path: pathlib.Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path)
    assert main(["dlexp", "compare", "--sweep=s", f"--store={tmp_path}", flag]) == 2
    assert f"{flag.partition('=')[0]} cannot be used with --sweep=s alone" in capsys.readouterr().err


def test_report_is_written_and_its_path_is_the_last_line(
    store: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "reports" / "compare.html"
    assert call(store, f"--output={report}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(report)
    assert report.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "dlexp compare needs either runs, --where or --sweep"),
        (["latest", "--where=seed == 0"], "dlexp compare needs either runs, --where or --sweep"),
        (["latest", "--format=html"], "format"),
        (["latest", "--metric=nothing"], "nothing:min or nothing:max"),
    ],
)
def test_wrong_command_lines_are_refused(
    store: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dlexp", "compare", f"--store={store}", *words]) == 2
    assert message in capsys.readouterr().err


def test_never_imports_tensorflow(store: str) -> None:
    code = (
        "import sys; from dlexp.commands.cli import main; "
        f"main(['dlexp', 'compare', '--where=seed >= 0', '--store={store}']); "
        "assert not {'tensorflow', 'keras', 'mlflow'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
