"""The report of a comparison."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from dlexp.comparison.compare import Comparison, compare_runs
from dlexp.comparison.page import write_page
from dlexp.comparison.pictures import draw_pictures
from dlexp.errors import StoreError
from dlexp.runs.points import make_points
from tests.support.compared_runs import make_run


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Three seeds of two models, with curves and predictions; one has another number of epochs."""
    store, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(0)
    for seed in range(3):
        for model, rate in (("mlp", 0.9), ("resnet20", 0.95)):
            epochs = 20 if model == "mlp" else 10
            run = make_run(
                store, rate + seed * rate / 200, model=model, seed=seed, epochs=epochs, answers=rng.random(50) < rate
            )
            for epoch in range(1, 4):
                run.point_log().append(make_points({"val_accuracy": rate - 0.1 / epoch}, step=10 * epoch, epoch=epoch))
    return compare_runs(store=store, group_by=["model"])


def test_page_begins_with_the_verdict_then_what_is_not_fair_then_the_groups(
    comparison: Comparison, tmp_path: pathlib.Path
) -> None:
    write_page(comparison, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    places = [text.index(part) for part in ("<strong>better</strong>", "epochs differs", "<h2>Groups</h2>", "<h2>Runs")]
    assert places == sorted(places)


def test_page_needs_no_network(comparison: Comparison, tmp_path: pathlib.Path) -> None:
    write_page(comparison, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)


def test_page_shows_every_run_and_four_pictures(comparison: Comparison, tmp_path: pathlib.Path) -> None:
    write_page(comparison, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    for summary in comparison.summaries:
        assert all(entry.run.id[:8] in text for entry in summary.group.entries)
    assert text.count("<img ") == 4


def test_pictures_are_drawn_from_what_the_runs_recorded(comparison: Comparison, tmp_path: pathlib.Path) -> None:
    drawn = draw_pictures(comparison, tmp_path)
    assert list(drawn) == ["intervals", "curves", "cost", "classes"]
    for path in drawn.values():
        with Image.open(path) as image:
            assert min(image.size) > 100


def test_pictures_without_data_are_left_out(tmp_path: pathlib.Path) -> None:
    make_run(tmp_path, 0.9, model="mlp")
    drawn = draw_pictures(compare_runs(store=tmp_path), tmp_path)
    assert list(drawn) == ["intervals"]


def test_names_are_escaped(tmp_path: pathlib.Path) -> None:
    for seed in range(2):
        make_run(tmp_path, 0.9, model="mlp", run_name="<script>alert(1)</script>", seed=seed, tags={"a": "<b>"})
    found = compare_runs(store=tmp_path, group_by=["tags.a"])
    write_page(found, tmp_path / "report.html")
    assert "tags.a=&lt;b&gt;" in (tmp_path / "report.html").read_text()


def test_folder_that_cannot_be_written_is_refused(comparison: Comparison, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another --output"):
        write_page(comparison, tmp_path / "file" / "report.html")
