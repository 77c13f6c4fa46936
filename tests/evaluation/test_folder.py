"""An evaluation folder is whole, says what it shows, and is drawn for any split."""

import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import log_softmax

from dlexp.datasets import ArraySource, Dataset
from dlexp.evaluation import folder as evaluation_folder
from dlexp.evaluation.evaluate import Evaluation
from dlexp.evaluation.folder import EvaluationFolder, write_evaluation
from dlexp.evaluation.report import ReportSubject
from dlexp.evaluation.split_prediction import Predictions, tabulate
from dlexp.evaluation.split_scores import fit_split_temperature, score_split

NAMES = ("cat", "dog", "<b>a class & its \N{SNOWMAN} long, long, long, long name</b>")
FILES = {
    "predictions.parquet", "report.json", "report.html", "confusion.png", "per_class.png", "roc.png",
    "precision_recall.png", "reliability.png", "mistakes.png", "least_confident.png",
}  # fmt: skip


def make_dataset(labels: np.ndarray, class_names: tuple[str, ...], sources: int) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (len(labels) + len(class_names), 6, 9, 3), dtype=np.uint8)
    every_class = np.concatenate([labels, np.arange(len(class_names))])  # a source has examples of each
    source = ArraySource("noise", images, every_class, class_names)
    split = np.where(np.arange(len(images)) < len(labels), "test", "train")
    parts = [f"source{position % sources}" for position in range(len(images))]
    manifest = source.manifest.assign(split=split, source=parts)
    return Dataset("noise", "0123456789abcdef", class_names, manifest, source, (6, 9, 3))


def evaluate(
    labels: np.ndarray, logits: np.ndarray, class_names: tuple[str, ...], *, sources: int = 1
) -> tuple[Evaluation, Dataset]:
    """The evaluation of a model that gives these logits."""
    dataset = make_dataset(labels, class_names, sources)
    rows = dataset.manifest[dataset.manifest["split"] == "test"]
    losses = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    table = tabulate(rows, logits.astype(np.float32), losses)

    def measure(table: pd.DataFrame) -> dict[str, float]:
        return {
            "loss": float(table["loss"].to_numpy().mean()),
            "accuracy": float((table["label"] == table["prediction"]).mean()),
        }

    per_source = {str(name): measure(part) for name, part in table.groupby("source")} if sources > 1 else {}
    predictions = Predictions("test", measure(table), per_source, table, logits.astype(np.float32))
    scores = score_split(predictions, fit_split_temperature(predictions))
    digest = "ab" * 16
    subject = ReportSubject(
        run_id="0" * 32, run_name="a-run", model="mlp", checkpoint="a.keras", kind="best", epoch=1,
        weights_digest=digest, dataset_name=dataset.name, dataset_id=dataset.id, split="test", tta=(), batch_size=8,
    )  # fmt: skip
    return Evaluation(subject, predictions, scores), dataset


def write(folder: pathlib.Path, labels: list[int], logits: np.ndarray, classes: int = 3) -> EvaluationFolder:
    names = NAMES[:classes] if classes <= 3 else tuple(f"a rather long class name, number {n}" for n in range(classes))
    evaluation, dataset = evaluate(np.array(labels), logits, names)
    return write_evaluation(folder, evaluation, dataset, cautions={})


def one_hot(labels: list[int], classes: int, *, by: float) -> np.ndarray:
    return by * np.eye(classes)[labels]


CASES = {
    "one example": ([2], one_hot([2], 3, by=3), 3),
    "one class only": ([1, 1, 1], one_hot([1, 1, 0], 3, by=2), 3),
    "a class without examples": ([0, 1, 0, 1], one_hot([0, 1, 1, 1], 3, by=2), 3),
    "a class never predicted": ([0, 1, 2, 2], one_hot([0, 1, 0, 0], 3, by=2), 3),
    "all right": ([0, 1, 2] * 9, one_hot([0, 1, 2] * 9, 3, by=1000), 3),
    "all wrong": ([0, 1, 2] * 9, one_hot([1, 2, 0] * 9, 3, by=1000), 3),
    "two classes": ([0, 1, 1, 0] * 9, one_hot([0, 1, 0, 0] * 9, 2, by=1), 2),
    "a hundred classes": (list(range(120)), np.random.default_rng(0).normal(size=(120, 120)), 120),
    "nothing finite": ([0, 1], np.full((2, 3), np.nan), 3),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_every_split_is_scored_drawn_and_reported(tmp_path: pathlib.Path, case: str) -> None:
    labels, logits, classes = CASES[case]
    written = write(tmp_path / "test", labels, logits, classes)
    assert {path.name for path in written.path.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["test"]
    for picture in written.pictures.values():
        with Image.open(picture) as image:
            assert np.asarray(image.convert("L")).min() < 100, picture.name
    text = (written.path / "report.json").read_text()
    report = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert sum(examples for _, _, examples in report["confusion"]) == report["examples"] == len(labels)
    assert sum(report["calibration"]["bin_counts"]) == len(labels)
    accuracy = report["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert report["top_k"]["1"] == accuracy


def test_examples_without_finite_numbers_are_counted_and_told(tmp_path: pathlib.Path) -> None:
    logits = one_hot([0, 1, 2], 3, by=5.0)
    logits[1, 2] = np.nan
    written = write(tmp_path / "test", [0, 1, 2], logits)
    assert written.report["not_finite"] == 1
    assert written.report["accuracy"]["right"] == 2
    assert written.report["metrics"]["loss"] is None
    predictions = written.predictions()
    assert predictions["prediction"].tolist() == [0, 0, 2]
    assert predictions["confidence"].isna().tolist() == [False, True, False]
    assert "For 1 of 3 examples the model returns NaN or infinity" in read_page(written)


def test_page_is_one_file_that_needs_nothing_else_and_escapes_names(tmp_path: pathlib.Path) -> None:
    page = read_page(write(tmp_path / "test", [0, 1, 2, 2], one_hot([0, 1, 2, 0], 3, by=2)))
    assert "&lt;b&gt;a class &amp; its" in page
    assert "<b>a class" not in page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', page) == []
    assert page.count("<img ") == page.count('alt="') == 7
    for text in ("viewport", "a-run", "0" * 32, "noise", "0123456789abcdef", "test split", "75.00%", "95 % interval"):
        assert text in page


def test_page_names_each_share_of_the_most_probable_classes_once(tmp_path: pathlib.Path) -> None:
    page = read_page(write(tmp_path / "test", list(range(12)), one_hot(list(range(12)), 12, by=2), classes=12))
    for name in ("accuracy", "top-3 accuracy", "top-5 accuracy"):
        assert page.count(f'<th scope="row">{name}</th>') == 1
    assert "top5_accuracy" not in page


def test_report_tells_each_source_with_its_interval(tmp_path: pathlib.Path) -> None:
    labels = np.array([0, 1] * 20)
    evaluation, dataset = evaluate(labels, one_hot([0] * 40, 3, by=2), NAMES, sources=2)
    report = write_evaluation(tmp_path / "test", evaluation, dataset, cautions={}).report
    assert {name: each["accuracy"]["value"] for name, each in report["per_source"].items()} == {
        "source0": 1.0,
        "source1": 0.0,
    }
    assert report["per_source"]["source0"]["accuracy"]["low"] < 1


def test_folder_stays_as_it_was_if_writing_fails(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise RuntimeError("no page today")

    write(tmp_path / "test", [0, 1], one_hot([0, 1], 3, by=2))
    before = {path.name: path.read_bytes() for path in (tmp_path / "test").iterdir()}
    monkeypatch.setattr(evaluation_folder, "build_page", fail)
    with pytest.raises(RuntimeError):
        write(tmp_path / "test", [0, 1], one_hot([1, 0], 3, by=2))
    with pytest.raises(RuntimeError):
        write(tmp_path / "new", [0, 1], one_hot([1, 0], 3, by=2))
    assert {path.name: path.read_bytes() for path in (tmp_path / "test").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["test"]


def read_page(written: EvaluationFolder) -> str:
    return (written.path / "report.html").read_text(encoding="utf-8")


def test_page_and_report_say_why_a_run_must_be_used_with_caution(tmp_path: pathlib.Path) -> None:
    evaluation, dataset = evaluate(np.array([0, 1, 2]), one_hot([0, 1, 2], 3, by=2), NAMES)
    cautions = {"not verified": "val_loss 0.5 <recorded: 0.3>"}
    folder = write_evaluation(tmp_path / "test", evaluation, dataset, cautions=cautions)
    assert folder.report["cautions"] == cautions
    assert "<strong>not verified</strong>: val_loss 0.5 &lt;recorded: 0.3&gt;" in read_page(folder)
