"""Decides from the name of a metric whether small or large values are better; a name that is not known is asked for."""

import difflib

from dlexp.errors import ConfigError

_SMALLER = frozenset(
    (
        *("loss", "cross_entropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "kl_divergence"),
        *("mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "poisson"),
        *("num_parameters", "seconds", "epoch_seconds", "step_seconds", "data_wait_seconds", "gradient_norm"),
        *("weight_norm", "peak_memory_bytes", "exact_leaks", "best_epoch", "skipped_updates"),
    )
)
_LARGER = frozenset(
    (
        *("accuracy", "top5_accuracy", "balanced_accuracy", "precision", "recall", "f1_score", "macro_f1"),
        *("f_beta_score", "auc", "mean_io_u", "one_hot_mean_io_u", "cosine_similarity", "categorical_accuracy"),
        *("sparse_categorical_accuracy", "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"),
        "images_per_second",
    )
)
_PREFIXES = ("val_", "test_")
_MODES = ("min", "max")


def base_metric(metric: str) -> str:
    """Returns the metric's own name, without the split, the source and the class: `recall` of `val_recall/cat`."""
    metric = metric.removeprefix("steps/")
    prefix = next((prefix for prefix in _PREFIXES if metric.startswith(prefix)), "")
    return metric.removeprefix(prefix).partition("/")[0]


def is_smaller_better(metric: str) -> bool | None:
    """Returns whether small values of a metric are better, as for losses and times; None if it is not known."""
    name = base_metric(metric)
    return True if name in _SMALLER else False if name in _LARGER else None


def is_share(metric: str) -> bool:
    """Returns whether a metric is a share in [0, 1], such as an accuracy, whose differences are given in points."""
    return base_metric(metric) in _LARGER - {"images_per_second", "cosine_similarity"}


def monitor_mode(monitor: str, mode: str) -> str:
    """Returns `min` or `max` for a monitored metric: the given mode, or for `auto` the mode of a known metric.

    Raises:
        ConfigError: the mode is `auto`, and the metric is not known.
    """
    if mode != "auto":
        return mode
    is_smaller = is_smaller_better(monitor)
    if is_smaller is None:
        raise ConfigError(f"monitor={monitor} {unknown_direction(monitor)} --monitor_mode=min or --monitor_mode=max")
    return "min" if is_smaller else "max"


def read_direction(text: str, *, flag: str) -> tuple[str, bool]:
    """Reads `val_accuracy`, or with its direction `my_score:max`.

    Args:
        text: the metric.
        flag: that the text was given for, without its dashes.

    Returns:
        The name of the metric, and whether small values are better.

    Raises:
        ConfigError: the mode is neither min nor max, or none is given for a metric that dlexp does not know.
    """
    name, separator, mode = text.partition(":")
    if separator:
        if mode not in _MODES or not name:
            raise ConfigError(f"--{flag}={text} must be a metric, or metric:min, or metric:max")
        return name, mode == "min"
    is_smaller = is_smaller_better(name)
    if is_smaller is None:
        raise ConfigError(f"--{flag}={name} {unknown_direction(name)} {name}:min or {name}:max")
    return name, is_smaller


def unknown_direction(metric: str) -> str:
    """The middle of an error: what is not known of a metric, and the nearest known ones."""
    prefix = next((prefix for prefix in _PREFIXES if metric.startswith(prefix)), "")
    near = difflib.get_close_matches(base_metric(metric), sorted(_SMALLER | _LARGER), n=2, cutoff=0.7)
    hint = f"; did you mean {' or '.join(f'{prefix}{name}' for name in near)}? Otherwise give" if near else ": give"
    return f"is no metric of dlexp, so it is not known whether small or large values are better{hint}"
