"""dlexp: train a hundred Keras models, and know which one is best, on what data, and how to get it back.

Everything public is importable from here; what needs TensorFlow is imported when it is first used.
"""

import importlib
from typing import Any

_PUBLIC = {
    "ExperimentConfig": "dlexp.config.experiment_config",
    "ExperimentResult": "dlexp.runs.result",
    "run_experiment": "dlexp.experiment",
    "resume_experiment": "dlexp.experiment",
    "choose_batch_size": "dlexp.memory.choice",
    "list_runs": "dlexp.runs.store",
    "find_run": "dlexp.runs.store",
    "compare_runs": "dlexp.comparison.compare",
    "load_predictions": "dlexp.comparison.predictions",
    "analyze_sweep": "dlexp.comparison.sweep",
    "list_checkpoints": "dlexp.checkpoints.search",
    "load_checkpoint": "dlexp.checkpoints.files",
    "evaluate_checkpoint": "dlexp.evaluation.checkpoint_evaluation",
    "predict_images": "dlexp.evaluation.image_prediction",
    "find_images": "dlexp.datasets.images.paths",
    "build_datasets": "dlexp.datasets",
    "open_dataset": "dlexp.datasets",
    "Source": "dlexp.datasets",
    "ArraySource": "dlexp.datasets",
    "register_model": "dlexp.registry",
    "register_source": "dlexp.registry",
    "register_augmentation": "dlexp.registry",
    "register_callback": "dlexp.registry",
    "register_tracker": "dlexp.registry",
    "register_loss": "dlexp.registry",
    "register_metric": "dlexp.registry",
    "Tracker": "dlexp.tracking.base",
    "load_plugins": "dlexp.plugins",
    "DlexpError": "dlexp.errors",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dlexp' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
