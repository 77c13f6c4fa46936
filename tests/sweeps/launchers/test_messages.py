"""Jobs and events between a launcher and its workers: JSON, equal when read back, and nothing unpickled."""

import json
import pathlib
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dlexp.sweeps.launchers
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import SweepTrial
from dlexp.sweeps.launchers.base import EpochEnded, Event, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.messages import decode_event, decode_job, encode_event, encode_job

NUMBERS = st.integers(0, 10**9)
FLOATS = st.floats(allow_nan=False)
ARGUMENTS = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(), max_size=3
)
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 99),
        "learning_rate": st.floats(1e-9, 10),
        "model_args": ARGUMENTS,
        "image_size": st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
        "augment": st.lists(st.sampled_from(["flip", "crop"])).map(tuple),
        "dataset": st.text("a/äß \"'").map(lambda path: f"folder:{path}/x"),
        "deterministic": st.booleans(),
    },
).map(lambda values: ExperimentConfig.of(**values))
JOBS = st.builds(
    TrialJob,
    st.builds(SweepTrial, st.text(), NUMBERS, st.text(), st.text()),
    CONFIGS,
    waits_for_verdict=st.booleans(),
    log_path=st.text(),
)
EVENTS: st.SearchStrategy[Event] = st.builds(
    EpochEnded, NUMBERS, NUMBERS, st.dictionaries(st.text(), FLOATS)
) | st.builds(TrialEnded, NUMBERS, st.sampled_from(Outcome), st.text())


@settings(max_examples=30)
@given(JOBS)
def test_a_job_is_read_as_it_was_written(job: TrialJob) -> None:
    assert decode_job(encode_job(job)) == job


@given(EVENTS)
def test_an_event_is_read_as_it_was_written(event: Event) -> None:
    again = decode_event(encode_event(event))
    assert again == event
    assert type(again) is type(event)


@settings(max_examples=30)
@given(EVENTS | JOBS)
def test_a_message_is_one_json_object_in_ascii(message: Any) -> None:
    encoded = encode_job(message) if isinstance(message, TrialJob) else encode_event(message)
    assert isinstance(json.loads(encoded.decode("ascii")), dict)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_one_again(outcome: Outcome) -> None:
    event = decode_event(encode_event(TrialEnded(3, outcome)))
    assert isinstance(event, TrialEnded)
    assert event.outcome is outcome


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_come_through(value: float) -> None:
    event = decode_event(encode_event(EpochEnded(0, 1, {"loss": value})))
    assert isinstance(event, EpochEnded)
    assert str(event.metrics["loss"]) == str(value)


class _Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a message was unpickled",)


@pytest.mark.parametrize("decode", [decode_job, decode_event])
def test_a_pickle_is_refused_unread(decode: Any) -> None:
    with pytest.raises(ValueError, match=r"codec|Expecting|JSON"):
        decode(pickle.dumps(_Trap()))


def test_no_launcher_receives_objects() -> None:
    (folder,) = dlexp.sweeps.launchers.__path__
    for path in pathlib.Path(folder).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "pickle.load" not in text
        assert ".recv()" not in text  # of a pipe: it unpickles, recv_bytes does not
