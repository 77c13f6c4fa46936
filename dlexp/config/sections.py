"""The sections of an experiment's config: every field, declared once with all that is known about it.

To add a field, declare it here with `setting` and use it: flag, help, checks, digest, recipe and MLflow param follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlexp.config.range import Range
from dlexp.config.setting import setting

SPLIT_METHODS = ("stratified", "hash", "group", "official", "folds")
BAD_IMAGES = ("fail", "skip")
CACHES = ("none", "memory", "disk")
LR_SCHEDULES = ("constant", "cosine", "step", "exponential", "one_cycle", "plateau")
DTYPE_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "bfloat16", "float16")
JIT_COMPILE = ("auto", "true", "false")
MONITOR_MODES = ("auto", "min", "max")
SEEDS = Range(at_least=0, at_most=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which examples, in which splits, in what form."""

    dataset: str = setting(
        "digits",
        "Where the examples come from: digits, folder:PATH, table:PATH (.csv or .parquet), npz:PATH, idx:PATH, "
        "pack:PATH, keras:NAME, tfds:NAME, hf:OWNER/NAME, or a source of a plug-in. Several are joined by +, each "
        "perhaps with *WEIGHT, how often an epoch shows its training examples. recipe:RUN or "
        "recipe:PATH is the dataset of a run.",
        makes_dataset=True,
    )
    dataset_name: str = setting(
        "", "Name of the dataset in tables and file names; made from --dataset if empty.", makes_dataset=True
    )
    dataset_id: str = setting(
        "",
        "Refuse to train unless the dataset has this ID, or one that begins so.",
        changes_result=False,
        makes_dataset=True,
        traced=True,
    )
    data_dir: str = setting(
        "",
        "Folder that relative paths in --dataset start from.",
        changes_result=False,
        makes_dataset=True,
        traced=True,
    )
    class_map: str = setting(
        "",
        'JSON file that renames classes, {"old": "new"} or for one source {"source/old": "new"}, and leaves out those '
        "renamed to null.",
        makes_dataset=True,
    )
    on_bad_image: str = setting(
        "fail",
        "What to do where images cannot be read: name them and stop, or go on without them.",
        choices=BAD_IMAGES,
        makes_dataset=True,
    )
    split_method: str = setting(
        "stratified",
        "How examples are split: stratified (equal shares of each class, by a keyed hash), hash (by a threshold on the "
        "hash: more data moves no example), group (a group is never torn apart), official (the source's own test set; "
        "validation is taken from the rest) or folds (cross-validation: --fold of --folds is the test split).",
        choices=SPLIT_METHODS,
        makes_dataset=True,
    )
    split_seed: int = setting(
        0, "Seed of the split alone, so that --seed can vary on equal data.", range=SEEDS, makes_dataset=True
    )
    validation_fraction: float = setting(
        0.1, "Share of the examples kept for validation.", range=Range(above=0, below=1), makes_dataset=True
    )
    test_fraction: float = setting(
        0.2,
        "Share of the examples kept for the test; unused if official or folds.",
        range=Range(above=0, below=1),
        makes_dataset=True,
    )
    group_column: str = setting(
        "", "Column of a table that says which examples belong together: patient, scene.", makes_dataset=True
    )
    group_pattern: str = setting(
        "",
        "Regular expression whose first group, searched in each path, says which examples belong together.",
        makes_dataset=True,
    )
    folds: int = setting(5, "Parts that split_method=folds makes.", range=Range(at_least=2), makes_dataset=True)
    fold: int = setting(0, "Which of the folds is the test split.", range=Range(at_least=0), makes_dataset=True)
    image_size: tuple[int, int] | None = setting(
        None, "Height,width in pixels that images are resized to; empty: the source's own size.", makes_dataset=False
    )
    batch_size: int = setting(64, "Examples in a batch.", range=Range(at_least=1), makes_dataset=False)
    augment: tuple[str, ...] = setting(
        (), "Augmentations of the training images, applied in this order: flip,crop,mixup.", makes_dataset=False
    )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network."""

    model: str = setting("small_cnn", "Name of the model.")
    model_args: Mapping[str, Any] = setting(
        {},
        "Arguments of the model's builder: key=value,key=value. Models of keras.applications take "
        "weights=none|imagenet|PATH.",
    )
    freeze_backbone: bool = setting(False, "Train only the new head of a keras.applications model.")
    init_checkpoint: str = setting(
        "", "Weights to begin with: RUN:best, RUN:last or the path of a checkpoint; a head for other classes stays new."
    )
    trust_checkpoint: bool = setting(
        False, "Take --init_checkpoint also from a .keras file that dlexp did not write.", changes_result=False
    )


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """How the weights are moved."""

    epochs: int = setting(10, "Times that every training example is seen.", range=Range(at_least=1))
    optimizer: str = setting("adamw", "Keras optimizer by its name: sgd, adam, adamw, rmsprop, lion, muon, ...")
    optimizer_args: Mapping[str, Any] = setting({}, "Further arguments of the optimizer: momentum=0.9,nesterov=true.")
    learning_rate: float = setting(0.001, "Highest learning rate of the schedule.", range=Range(above=0), traced=False)
    lr_schedule: str = setting("constant", "Learning rate over the steps, after the warm-up.", choices=LR_SCHEDULES)
    plateau_patience: int = setting(
        5,
        "Epochs without a better monitored value after which lr_schedule=plateau divides the learning rate by 10.",
        range=Range(at_least=1),
        traced=False,
    )
    warmup_epochs: float = setting(
        0.0, "Epochs over which the learning rate rises linearly from 0.", range=Range(at_least=0)
    )
    weight_decay: float = setting(
        0.0,
        "Decoupled weight decay; biases and normalisation layers are left alone.",
        range=Range(at_least=0),
        traced=False,
    )
    label_smoothing: float = setting(
        0.0, "Share of a training label spread over all classes.", range=Range(at_least=0, below=1)
    )
    gradient_clip_norm: float = setting(
        0.0, "Largest global norm of the gradients; 0: no clipping.", range=Range(at_least=0)
    )
    ema_decay: float = setting(
        0.0,
        "Decay of a moving average of the weights, which is then what is validated and kept as best; 0: off.",
        range=Range(at_least=0, below=1),
    )
    callbacks: tuple[str, ...] = setting((), "Callbacks of plug-ins, by the names they are registered under.")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """What is measured, and by what the best epoch is chosen."""

    metrics: tuple[str, ...] = setting(
        (), "Keras metrics beside loss, accuracy and (from 10 classes on) top5_accuracy: F1Score,AUC."
    )
    monitor: str = setting("val_accuracy", "Metric that chooses the best epoch.", traced=False)
    monitor_mode: str = setting(
        "auto",
        "Whether the monitored metric should be small or large; auto: min for losses and errors, else max.",
        choices=MONITOR_MODES,
        traced=False,
    )
    early_stopping_patience: int = setting(
        0, "Stop after this many epochs without a better value; 0: never.", range=Range(at_least=0), traced=False
    )
    keep_top: int = setting(
        1, "How many of the best epochs keep their checkpoint.", changes_result=False, range=Range(at_least=1)
    )
    checkpoint_fields: tuple[str, ...] = setting(
        ("model", "dataset", "image_size", "optimizer", "learning_rate", "weight_decay", "batch_size", "seed"),
        "What the name of a checkpoint tells, beside run, kind, epoch and score: any config fields; dataset brings "
        "the dataset ID with it.",
        changes_result=False,
    )


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the machine is used."""

    dtype_policy: str = setting("float32", "Keras precision policy.", choices=DTYPE_POLICIES)
    jit_compile: str = setting("auto", "Compile with XLA; auto: Keras decides (never on a CPU).", choices=JIT_COMPILE)
    steps_per_execution: str = setting(
        "auto",
        "Training steps in one call of the compiled function: a number, or auto (a rule; the choice is recorded).",
    )
    deterministic: bool = setting(False, "Use only deterministic TensorFlow operations; slower on a GPU.")
    save_every_steps: int = setting(
        0,
        "Save the last checkpoint after so many steps too, not only after each epoch; 0: never.",
        changes_result=False,
        range=Range(at_least=0),
        traced=True,
    )
    cache: str = setting(
        "none", "Where decoded images of a folder are kept after the first epoch.", choices=CACHES, changes_result=False
    )
    num_workers: int = setting(
        0,
        "Images that are read and decoded in parallel; 0: as many as there are cores.",
        changes_result=False,
        range=Range(at_least=0),
    )
    num_threads: int = setting(
        0,
        "Threads of TensorFlow: those that share one operation, and operations that run side by side; 0: as many as "
        "there are cores. With another number results differ in their last bits.",
        range=Range(at_least=0),
    )
    verbose: int = setting(
        1,
        "Progress: 0 none, 1 bar (or plain lines without a terminal), 2 lines.",
        changes_result=False,
        range=Range(at_least=0, at_most=2),
    )


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where the run is written."""

    experiment: str = setting("dlexp", "MLflow experiment that the run belongs to.", changes_result=False)
    run_name: str = setting("", "Name of the run; made from model, dataset and seed if empty.", changes_result=False)
    tags: Mapping[str, Any] = setting({}, "Tags of the run: key=value,key=value.", changes_result=False)
    store: str = setting("mlruns", "Folder of the runs and of the MLflow database.", changes_result=False)
    tracking_uri: str = setting(
        "", "MLflow server that the run is logged to; empty: the database of --store.", changes_result=False
    )
    mlflow_autolog: bool = setting(
        True, "Attach MLflow's Keras autolog callback: optimizer params and model summary.", changes_result=False
    )
    system_metrics: bool = setting(
        True, "Sample CPU, memory, disk, network and GPU into MLflow while the run trains.", changes_result=False
    )
    tensorboard: bool = setting(True, "Write TensorBoard events into the run folder.", changes_result=False)
    wandb: bool = setting(
        False, "Log the run to Weights & Biases; offline, into the run folder, where no key is.", changes_result=False
    )
    trackers: tuple[str, ...] = setting(
        (), "Trackers of plug-ins, by the names they are registered under.", changes_result=False
    )
    histograms: bool = setting(
        False, "Log histograms of weights and gradients, once per epoch.", changes_result=False, traced=True
    )
    log_every_steps: int = setting(
        0,
        "Log metrics, norms, times and load after so many steps too, not only after each epoch; 0: never.",
        changes_result=False,
        range=Range(at_least=0),
        traced=True,
    )
    sample_pictures: bool = setting(
        True,
        "Draw a batch of augmented training images, and what the model makes of a few validation examples.",
        changes_result=False,
    )
    evaluation_report: bool = setting(
        True,
        "At the end of the run score the best model on validation and test, with pictures and a page; otherwise only "
        "the metrics and predictions of the test are written, and dlexp evaluate makes the rest when it is wanted.",
        changes_result=False,
    )

    def tracker_names(self) -> list[str]:
        """Names of all trackers, as they are registered: MLflow, those whose flag is on, those of `--trackers`."""
        switches = {"mlflow": True, "tensorboard": self.tensorboard, "wandb": self.wandb}
        return list(dict.fromkeys([*(name for name, is_on in switches.items() if is_on), *self.trackers]))
