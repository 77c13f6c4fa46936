"""The sections of an experiment's config: every field is declared here once, with its help, range and marks.

To add a field, declare it here with `setting` and use it: flag, help, checks, digest, recipe and MLflow param are
derived from the declaration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlexp.config.range import Range
from dlexp.config.setting import AUTO, setting

SPLIT_METHODS = ("auto", "stratified", "hash", "group", "official", "folds")
BAD_IMAGES = ("fail", "skip")
SAMPLINGS = ("all", "balanced")
MOMENTA = ("auto", "steps", "keep")
BITS = ("auto", *map(str, range(8, 17)))
CACHES = ("none", "memory", "disk")
ENDING_SCHEDULES = ("cosine", "step", "exponential", "one_cycle")  # their course depends on the number of epochs
LR_SCHEDULES = ("constant", "cosine", "step", "exponential", "one_cycle", "plateau")
DTYPE_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "bfloat16", "float16")
JIT_COMPILE = ("auto", "true", "false")
MONITOR_MODES = ("auto", "min", "max")
SEEDS = Range(at_least=0, at_most=2**31 - 1)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which examples are used, how they are split, and in what form they are read."""

    dataset: str = setting(
        "digits",
        "Where the examples come from: digits, folder:PATH, table:PATH (.csv or .parquet), npz:PATH, idx:PATH, "
        "pack:PATH, keras:NAME, tfds:NAME, hf:OWNER/NAME, or a source of a plug-in. Join several with +; *WEIGHT after "
        "one of them is how often an epoch shows its training examples. recipe:RUN is the dataset of a run, and "
        "recipe:PATH the dataset of a file that dlexp data recipe wrote.",
        makes_dataset=True,
    )
    dataset_name: str = setting(
        "", "Name of the dataset in tables and file names; made from --dataset if empty.", makes_dataset=True
    )
    dataset_id: str = setting(
        "",
        "Stop with an error unless the ID of the dataset is this one, or starts with it.",
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
        'JSON file that renames classes: {"old": "new"}, or {"source/old": "new"} for one source; a class that is '
        "renamed to null is left out.",
        makes_dataset=True,
    )
    on_bad_image: str = setting(
        "fail",
        "What to do if images cannot be read: list them and stop (fail), or leave them out (skip).",
        choices=BAD_IMAGES,
        makes_dataset=True,
    )
    split_method: str = setting(
        "auto",
        "How examples are split: auto (official if the source marks test or validation examples, else stratified), "
        "stratified (the same shares of every class, by a keyed hash), hash (by a threshold on the hash: examples keep "
        "their split when data is added), group (all examples of a group are in one split), official (the source's own "
        "splits; a test or validation split that it lacks is taken from train) or folds (cross-validation: --fold of "
        "--folds is the test split). All but auto and official pool the source's own splits.",
        choices=SPLIT_METHODS,
        makes_dataset=True,
    )
    split_seed: int = setting(
        0, "Seed of the split only, so that --seed can vary on the same splits.", range=SEEDS, makes_dataset=True
    )
    validation_fraction: float = setting(
        0.1, "Share of the examples kept for validation.", range=Range(above=0, below=1), makes_dataset=True
    )
    test_fraction: float = setting(
        0.2,
        "Share of the examples kept for the test; not used by split_method=folds, nor if the test split of the "
        "source is kept.",
        range=Range(above=0, below=1),
        makes_dataset=True,
    )
    group_column: str = setting(
        "", "Column of a table that names the group of each example, such as patient or scene.", makes_dataset=True
    )
    group_pattern: str = setting(
        "",
        "Regular expression that is searched in each path; its first ( ) names the group of the example.",
        makes_dataset=True,
    )
    folds: int = setting(5, "Number of folds of split_method=folds.", range=Range(at_least=2), makes_dataset=True)
    fold: int = setting(
        0, "Which of the folds is the test split, counted from 0.", range=Range(at_least=0), makes_dataset=True
    )
    image_size: tuple[int, int] | None = setting(
        None, "Height,width in pixels that images are resized to; empty: the source's own size.", makes_dataset=False
    )
    bits: str = setting(
        "16",
        "How many bits the values of 16-bit files use, from 8 to 16; the upper 8 of them are kept. auto: the fewest of "
        "8, 10, 12, 14 and 16 that hold the greatest value of all files.",
        choices=BITS,
        makes_dataset=False,
        before="16",
    )
    batch_size: int = setting(
        64,
        "Examples per batch; auto: the largest power of two that fits into memory, measured before the training.",
        range=Range(at_least=1),
        makes_dataset=False,
        auto=True,
    )
    micro_batch_size: int = setting(
        0,
        "Examples that pass through the network at once: a step goes through its batch in slices of this many, and "
        "updates the weights once; 0: the whole batch; auto: the largest power of two that fits into memory.",
        range=Range(at_least=0),
        makes_dataset=False,
        auto=True,
        before=0,
    )
    sampling: str = setting(
        "all",
        "Which training examples an epoch shows: all of them, or equally many of every class (balanced), in turns; an "
        "epoch keeps its length.",
        choices=SAMPLINGS,
        makes_dataset=False,
        before="all",
    )
    augment: tuple[str, ...] = setting(
        (),
        "Augmentations of the training images, applied in the given order, such as flip,crop,mixup.",
        makes_dataset=False,
    )

    @property
    def has_auto_size(self) -> bool:
        """Whether a batch size, or a micro-batch size, is still to be chosen by measurements."""
        return AUTO in (self.batch_size, self.micro_batch_size)

    @property
    def evaluation_batch_size(self) -> int:
        """Examples in a batch without a training step, which passes the network at once: no more than in a slice."""
        return self.micro_batch_size or self.batch_size


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network."""

    model: str = setting("small_cnn", "Name of the model.")
    model_args: Mapping[str, Any] = setting(
        {},
        "Arguments of the model's builder: key=value,key=value. Models of keras.applications accept "
        "weights=none|imagenet|PATH.",
    )
    batch_norm_momentum: str = setting(
        "auto",
        "Momentum of the moving statistics of batch normalisation: that of the network (keep); at most 1 - 1 / steps "
        "of an epoch, so that validation is right after few steps (steps); auto: steps for dlexp's own networks, keep "
        "for all others.",
        choices=MOMENTA,
        before="keep",
    )
    freeze_backbone: bool = setting(False, "Train only the new head of a keras.applications model.")
    init_checkpoint: str = setting(
        "", "Initial weights: RUN:best, RUN:last or the path of a checkpoint; the head is new if the classes differ."
    )
    trust_checkpoint: bool = setting(
        False, "Accept a .keras file that dlexp did not write as --init_checkpoint.", changes_result=False
    )


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """How the weights are trained."""

    epochs: int = setting(10, "Number of passes over all training examples.", range=Range(at_least=1))
    optimizer: str = setting("adamw", "Name of a Keras optimizer: sgd, adam, adamw, rmsprop, lion, muon, ...")
    optimizer_args: Mapping[str, Any] = setting(
        {}, "Further arguments of the optimizer, such as momentum=0.9,nesterov=true."
    )
    learning_rate: float = setting(
        0.001, "Learning rate; with a schedule or a warm-up, its highest value.", range=Range(above=0), traced=False
    )
    lr_schedule: str = setting(
        "constant", "How the learning rate changes over the steps, after the warm-up.", choices=LR_SCHEDULES
    )
    plateau_patience: int = setting(
        5,
        "Epochs without improvement of the monitored metric after which lr_schedule=plateau divides the rate by 10.",
        range=Range(at_least=1),
        traced=False,
    )
    warmup_epochs: float = setting(
        0.0,
        "Epochs over which the learning rate rises linearly, in at least one step; the first step has the first rise.",
        range=Range(at_least=0),
    )
    extended_from: tuple[str, ...] = setting(
        (),
        "Numbers of epochs that a training was planned for before --extend_schedule raised --epochs: up to each, the "
        "learning rate follows the schedule of that many epochs.",
        before=(),
    )
    weight_decay: float = setting(
        0.0,
        "Decoupled weight decay; biases and normalisation layers are excluded.",
        range=Range(at_least=0),
        traced=False,
    )
    loss: str = setting(
        "cross_entropy",
        "Name of the loss: cross_entropy, focal, binary_cross_entropy, or of a plug-in.",
        before="cross_entropy",
    )
    loss_args: Mapping[str, Any] = setting({}, "Arguments of the loss, such as gamma=2 for focal.", before={})
    label_smoothing: float = setting(
        0.0, "Share of each training label that is spread evenly over all classes.", range=Range(at_least=0, below=1)
    )
    class_weights: str = setting(
        "none",
        "How much each class counts in the training loss, and only there: none, balanced (rare classes count more), or "
        "class:weight,class:weight; a class that is not named has weight 1.",
        before="none",
    )
    gradient_clip_norm: float = setting(
        0.0, "Clip the gradients to this global norm; 0: no clipping.", range=Range(at_least=0)
    )
    ema_decay: float = setting(
        0.0,
        "Decay of a moving average (EMA) of the weights, which validation and the best checkpoint then use; 0: off.",
        range=Range(at_least=0, below=1),
    )
    callbacks: tuple[str, ...] = setting((), "Callbacks of plug-ins, by their registered names.")


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which metrics are measured, and which one chooses the best epoch."""

    metrics: tuple[str, ...] = setting(
        (),
        "Metrics in addition to loss, accuracy and (from 10 classes on) top5_accuracy, such as "
        "macro_f1,balanced_accuracy,auc or recall/CLASS; those over classes are means over the classes with examples.",
    )
    monitor: str = setting("val_accuracy", "Metric that chooses the best epoch.", traced=False)
    monitor_mode: str = setting(
        "auto",
        "Whether small (min) or large (max) values of the monitored metric are better; auto: by its name, for metrics "
        "of dlexp.",
        choices=MONITOR_MODES,
        traced=False,
    )
    early_stopping_patience: int = setting(
        0,
        "Stop after this many epochs without improvement of the monitored metric; 0: never.",
        range=Range(at_least=0),
        traced=False,
    )
    keep_top: int = setting(
        1, "Number of best epochs whose checkpoints are kept.", changes_result=False, range=Range(at_least=1)
    )
    checkpoint_fields: tuple[str, ...] = setting(
        ("model", "dataset", "image_size", "optimizer", "learning_rate", "weight_decay", "batch_size", "seed"),
        "Config fields in the file name of a checkpoint, in addition to run, kind, epoch and score; dataset also "
        "adds the dataset ID.",
        changes_result=False,
    )


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How the machine is used."""

    dtype_policy: str = setting(
        "float32", "Keras dtype policy: the precision of computation and weights.", choices=DTYPE_POLICIES
    )
    jit_compile: str = setting("auto", "Compile with XLA; auto: Keras decides (never on a CPU).", choices=JIT_COMPILE)
    steps_per_execution: str = setting(
        "auto",
        "Training steps per call of the compiled function: a number, or auto (chosen by a rule and recorded).",
    )
    deterministic: bool = setting(False, "Use only deterministic TensorFlow operations; slower on a GPU.")
    save_every_steps: int = setting(
        0,
        "Save the last checkpoint every N steps, not only after each epoch; 0: only after each epoch.",
        changes_result=False,
        range=Range(at_least=0),
        traced=True,
    )
    cache: str = setting(
        "none", "Where decoded images of a folder are kept after the first epoch.", choices=CACHES, changes_result=False
    )
    num_workers: int = setting(
        0,
        "Number of images that are read and decoded in parallel; 0: one per core.",
        changes_result=False,
        range=Range(at_least=0),
    )
    num_threads: int = setting(
        0,
        "Number of intra-op and of inter-op threads of TensorFlow; 0: one per core. Another number changes the last "
        "bits of the results.",
        range=Range(at_least=0),
    )
    verbose: int = setting(
        1,
        "Progress display: 0 none, 1 bar (or plain lines without a terminal), 2 lines.",
        changes_result=False,
        range=Range(at_least=0, at_most=2),
    )


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where and how the run is recorded."""

    experiment: str = setting("dlexp", "MLflow experiment that the run belongs to.", changes_result=False)
    allow_batch_size_change: bool = setting(
        False,
        "Train although other runs of the experiment or sweep have another batch size; the run is marked.",
        changes_result=False,
    )
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
        True, "Log the use of CPU, memory, disk, network and GPU to MLflow during training.", changes_result=False
    )
    tensorboard: bool = setting(True, "Write TensorBoard event files into the run folder.", changes_result=False)
    wandb: bool = setting(
        False, "Log the run to Weights & Biases; without an API key, offline into the run folder.", changes_result=False
    )
    trackers: tuple[str, ...] = setting((), "Trackers of plug-ins, by their registered names.", changes_result=False)
    histograms: bool = setting(
        False, "Log histograms of weights and gradients after each epoch.", changes_result=False, traced=True
    )
    log_every_steps: int = setting(
        0,
        "Log metrics, norms, times and load every N steps, not only after each epoch; 0: only after each epoch.",
        changes_result=False,
        range=Range(at_least=0),
        traced=True,
    )
    sample_pictures: bool = setting(
        True,
        "Draw a batch of augmented training images, and the predictions for a few validation examples.",
        changes_result=False,
    )
    evaluation_report: bool = setting(
        True,
        "At the end of the run, evaluate the best model on validation and test, with pictures and an HTML page. If "
        "false, only metrics and predictions of the test split are written; dlexp evaluate can make the rest later.",
        changes_result=False,
    )

    def tracker_names(self) -> list[str]:
        """Returns the registered names of all trackers: MLflow, those whose flag is on, and those of `--trackers`."""
        switches = {"mlflow": True, "tensorboard": self.tensorboard, "wandb": self.wandb}
        return list(dict.fromkeys([*(name for name, is_on in switches.items() if is_on), *self.trackers]))
