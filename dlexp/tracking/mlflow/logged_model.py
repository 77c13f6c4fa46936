"""The best model of a run as an MLflow LoggedModel, written by hand.

`mlflow.keras.log_model` saves the weights a second time, loads the model in another process to infer its requirements,
and takes 6 to 17 s. Here the file of the model is the checkpoint itself: in a store a hard link, which takes no space.
"""

import json
import os
import pathlib
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import add_to_model
from mlflow.types.schema import Schema, TensorSpec

from dlexp.runs.points import read_points
from dlexp.runs.run import POINTS_FILE, artifacts_root
from dlexp.tracking.base import BestModel, RunDescription
from dlexp.tracking.mlflow.runs import milliseconds, param_text, write_metrics

DIGEST_TAG = "dlexp.weights_digest"
CAUTION_TAG = "dlexp.caution"
_REQUIRED = ("tensorflow", "keras", "numpy", "dlexp")
_FORBIDDEN_IN_NAMES = str.maketrans(dict.fromkeys("/:.%\"'", "_"))
_MAX_TAG_CHARS = 5000


def register_best(client: MlflowClient, run_id: str, description: RunDescription, best: BestModel) -> bool:
    """Registers the best model of a run as a LoggedModel with status READY, linked to run, dataset and metrics.

    A run that is to be used with caution gets a tag that says why.

    Args:
        client: client of the server or the store.
        run_id: ID of the MLflow run.
        description: description of the run.
        best: the best model.

    Returns:
        False if MLflow already has a model with the same weights from the same run.
    """
    if best.caution:
        client.set_tag(run_id, CAUTION_TAG, best.caution)
    experiment_id = client.get_run(run_id).info.experiment_id
    for model in _models_of(client, experiment_id, run_id):
        if model.status == "READY" and model.tags.get(DIGEST_TAG) == best.weights_digest:
            return False
        if model.status != "READY":  # left by a process that was killed
            client.delete_logged_model(model.model_id)
    model = client.create_logged_model(
        experiment_id,
        name=description.name.translate(_FORBIDDEN_IN_NAMES),
        source_run_id=run_id,
        tags=_tags(best),
        params={name: param_text(value) for name, value in description.params().items()},
        model_type="keras",
    )
    _write_artifacts(client, model, description, best)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, best.step)])
    write_metrics(client, run_id, list(_metrics(model.model_id, description, best)))
    client.finalize_logged_model(model.model_id, "READY")
    return True


def _models_of(client: MlflowClient, experiment_id: str, run_id: str) -> list[LoggedModel]:
    found = client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'")
    return list(found)


def _tags(best: BestModel) -> dict[str, str]:
    names = json.dumps(list(best.class_names), ensure_ascii=False)
    tags = {
        DIGEST_TAG: best.weights_digest,
        "dlexp.epoch": str(best.epoch),
        "dlexp.checkpoint": best.checkpoint.name,
        "dlexp.num_classes": str(len(best.class_names)),
    }
    # The metadata of MLmodel contains all names, also when they are too long for a tag.
    return tags | ({"dlexp.class_names": names} if len(names) <= _MAX_TAG_CHARS else {})


def _metrics(model_id: str, description: RunDescription, best: BestModel) -> Iterator[Metric]:
    """The metrics of the model. They are equal to points of the run, so that the run gets no point twice."""
    wanted = dict(best.metrics)
    for point in reversed(read_points(description.run.path / POINTS_FILE)):
        of_best = point.step == best.step or point.key.startswith("test_")
        if of_best and point.key in wanted:
            value = wanted.pop(point.key)
            yield Metric(
                point.key,
                value,
                milliseconds(point.time),
                point.step,
                model_id=model_id,
                dataset_name=description.dataset_name,
                dataset_digest=description.dataset_id,
            )


def _write_artifacts(client: MlflowClient, model: LoggedModel, description: RunDescription, best: BestModel) -> None:
    tracking = description.config.tracking
    if tracking.tracking_uri:
        with tempfile.TemporaryDirectory() as temporary:
            _write_files(pathlib.Path(temporary), model, best)
            client.log_model_artifacts(model.model_id, temporary)
    else:
        _write_files(artifacts_root(tracking.store) / "models" / model.model_id / "artifacts", model, best)


def _write_files(folder: pathlib.Path, model: LoggedModel, best: BestModel) -> None:
    """Writes the files that `mlflow.keras.load_model` reads; Keras then loads the checkpoint in safe mode."""
    data = folder / "data"
    data.mkdir(parents=True)
    _link(best.checkpoint, data / "model.keras")
    requirements = [f"{name}=={version(name)}" for name in _REQUIRED if _is_installed(name)]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(json.dumps(environment), encoding="utf-8")  # JSON is YAML
    metadata = {"class_names": list(best.class_names), "weights_digest": best.weights_digest, "epoch": best.epoch}
    spec = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        model_uuid=model.model_id,
        signature=_signature(best),
        metadata=metadata,
        model_size_bytes=best.checkpoint.stat().st_size,
    )
    spec.add_flavor("keras", data="data", keras_version=version("keras"), keras_backend="tensorflow")
    add_to_model(spec, loader_module="mlflow.keras", python_env="python_env.yaml")
    spec.save(str(folder / "MLmodel"))


def _signature(best: BestModel) -> ModelSignature:
    # Without names, as MLflow would pass named tensors as a dict, by names that the inputs of the network do not have.
    pixels = TensorSpec(np.dtype(np.uint8), (-1, *best.image_shape))
    logits = TensorSpec(np.dtype(np.float32), (-1, len(best.class_names)))
    return ModelSignature(inputs=Schema([pixels]), outputs=Schema([logits]))


def _link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Adds a hard link to a file. Checkpoints are replaced and never modified, so the linked file stays the same."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or no support for hard links
        shutil.copyfile(source, target)


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:  # tensorflow-cpu provides tensorflow under another name
        return False
