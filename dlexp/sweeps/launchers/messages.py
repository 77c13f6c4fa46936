"""Encodes jobs and events as JSON, for pipes and networks: nothing that another process has sent is unpickled."""

import dataclasses
import json
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import SweepTrial
from dlexp.sweeps.launchers.base import EpochEnded, Event, Outcome, TrialEnded, TrialJob


def encode_job(job: TrialJob) -> bytes:
    """Returns a job as JSON; `decode_job` returns an equal job."""
    values = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    return _encode(values | {"trial": dataclasses.asdict(job.trial), "config": job.config.flat()})


def decode_job(message: bytes) -> TrialJob:
    """Reads what `encode_job` wrote."""
    values = json.loads(message)
    trial, config = SweepTrial(**values.pop("trial")), ExperimentConfig.of(**values.pop("config"))
    return TrialJob(trial, config, **values)


def encode_event(event: Event) -> bytes:
    """Returns an event as JSON; `decode_event` returns an equal event."""
    return _encode({"kind": type(event).__name__, **dataclasses.asdict(event)})


def decode_event(message: bytes) -> Event:
    """Reads what `encode_event` wrote."""
    values = json.loads(message)
    if values.pop("kind") == EpochEnded.__name__:
        return EpochEnded(**values)
    return TrialEnded(**values | {"outcome": Outcome(values["outcome"])})


def _encode(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode()
