"""Tables of a comparison."""

import pathlib

import pytest

from dlexp.comparison.compare import Comparison, compare_runs
from dlexp.comparison.tables import tabulate_for_people, tabulate_groups, to_latex, to_markdown
from tests.support.compared_runs import make_run


@pytest.fixture
def comparison(tmp_path: pathlib.Path) -> Comparison:
    """Three seeds of two models."""
    for seed in range(3):
        make_run(tmp_path, 0.95 + seed / 100, model="small_cnn", seed=seed)
        make_run(tmp_path, 0.90 + seed / 90, model="mlp", seed=seed)
    return compare_runs(store=tmp_path)


def test_table_for_programs_has_every_number(comparison: Comparison) -> None:
    first, second = tabulate_groups(comparison).to_dict("records")
    assert (first["group"], first["model"], first["finished"], first["started"]) == (
        "model=small_cnn",
        "small_cnn",
        3,
        3,
    )
    assert first["mean"] == pytest.approx(0.96)
    assert first["low"] < first["least"] < first["mean"] < first["greatest"] < first["high"]
    assert second["difference"] < 0
    assert second["difference_low"] < second["difference"] < second["difference_high"]
    assert (second["verdict"], first["verdict"]) == ("worse", "")
    assert (first["seconds"], first["num_parameters"], first["peak_memory_bytes"]) == (30.0, 1000.0, 2.0**30)


def test_table_for_people_shows_points_and_costs(comparison: Comparison) -> None:
    table = tabulate_for_people(comparison)
    assert table["test_accuracy"].tolist() == ["0.9600 ± 0.0100", "0.9111 ± 0.0111"]
    assert table["difference"].tolist()[0] == "baseline"
    assert table["difference"].tolist()[1].startswith("-4.89 (")
    assert table["time"].tolist() == ["30 s", "30 s"]
    assert table["peak memory"].tolist() == ["1.00 GiB"] * 2


def test_markdown_has_a_row_for_every_group(comparison: Comparison) -> None:
    head, line, *rows = to_markdown(tabulate_for_people(comparison)).splitlines()
    assert head.startswith("| group | runs | test_accuracy |")
    assert set(line) == set("|- ")
    assert len(rows) == 2


def test_latex_escapes_what_latex_reads_as_commands(comparison: Comparison) -> None:
    text = to_latex(tabulate_for_people(comparison))
    assert r"small\_cnn" in text
    assert r"test\_accuracy" in text
    assert text.count(r"\\") == 3
