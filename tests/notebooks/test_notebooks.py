"""Every notebook runs from top to bottom against a fresh store."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

from dlexp import ExperimentConfig, run_experiment

NOTEBOOKS = sorted((pathlib.Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Two finished runs on digits."""
    folder = tmp_path_factory.mktemp("store")
    for seed in (0, 1):
        run_experiment(ExperimentConfig.of(model="small_cnn", epochs=2, seed=seed, store=str(folder), verbose=0))
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_and_shows_a_picture(
    path: pathlib.Path, store: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLEXP_STORE", str(store))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: pathlib.Path) -> None:
    assert all(not cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)
