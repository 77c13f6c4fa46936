"""`dlexp ui`."""

import pathlib

import pytest

from dlexp.commands.cli import main


def test_ui_of_a_store_without_runs_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dlexp", "ui", f"--store={tmp_path}"]) == 1
    assert "train a run first" in capsys.readouterr().err
