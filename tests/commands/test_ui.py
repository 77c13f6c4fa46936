"""`dlexp ui`."""

import pathlib

import pytest

from dlexp.commands.cli import main


def test_ui_of_a_store_without_runs_is_refused(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dlexp", "ui", f"--store={tmp_path}"]) == 1
    assert "train a run first" in capsys.readouterr().err


@pytest.mark.parametrize("port", [0, 65536])
def test_port_that_does_not_exist_is_refused(
    port: int, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dlexp", "ui", f"--store={tmp_path}", f"--port={port}"]) == 2
    assert capsys.readouterr().err == f"dlexp: --port={port} must be from 1 to 65535\n"
