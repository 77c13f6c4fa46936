"""What the fork server of `tests.support.killing` imports before it forks: everything that a training needs."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg"}

import matplotlib.pyplot  # noqa: F401
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import sklearn.metrics  # noqa: F401

import dlexp.experiment  # noqa: F401
from dlexp.registry import TRACKERS

TRACKERS.import_builtin()
