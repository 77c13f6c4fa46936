"""What a run notes of where it was made, and that no secret gets into it."""

import json
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.scrubbing import HIDDEN, holds_credentials, scrub
from dlexp.errors import ConfigError
from dlexp.runs.environment import describe_machine, write_environment

_WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=20)


@given(user=_WORDS, password=_WORDS, host=_WORDS)
def test_credentials_of_a_url_never_stay(user: str, password: str, host: str) -> None:
    assert scrub(f"git clone https://{user}:{password}@{host}/x") == f"git clone https://{HIDDEN}@{host}/x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--api_key=abc123", "--api_key=***"),
        ("DB_PASSWORD: 'pass word'", "DB_PASSWORD: '*** word'"),
        ('{"token": "abc"}', '{"token": "***"}'),
        ("use hf_abcdefghijklmnopqrstuvwxyz", "use ***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("--learning_rate=0.1 --dataset=folder:tokens/x", "--learning_rate=0.1 --dataset=folder:tokens/x"),
        ("https://host/path@2x.png", "https://host/path@2x.png"),
    ],
)
def test_what_is_hidden_and_what_stays(text: str, expected: str) -> None:
    assert scrub(text) == expected


def test_address_without_credentials_is_allowed() -> None:
    assert not holds_credentials("http://127.0.0.1:5000")


def test_tracking_uri_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        ExperimentConfig.of(tracking_uri="https://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_batch_job_is_noted_and_no_other_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    machine = describe_machine()
    assert machine["job"]["SLURM_JOB_ID"] == "4711"
    assert "hunter2" not in json.dumps(machine)


def test_command_line_is_noted_without_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dlexp", "train", "--tags=token=hunter2"])
    assert describe_machine()["command"] == "dlexp train --tags=token=***"


def test_uncommitted_changes_are_noted_without_their_secrets(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "settings.py").write_text("RATE = 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "settings.py").write_text("RATE = 2\nAPI_KEY = 'hunter2'\n")
    monkeypatch.chdir(tmp_path)
    write_environment(tmp_path)
    difference = (tmp_path / "environment" / "git.diff").read_text()
    assert "+RATE = 2" in difference
    assert "hunter2" not in difference
    assert len(json.loads((tmp_path / "environment" / "git.json").read_text())["commit"]) == 40
