"""Names for builders: what `--model=resnet20` or `--augment=flip` finds.

A name is registered by a decorator, by an entry point of an installed package, or by a file given with `--plugins`.
Built-in names are known before the module that builds them is imported, so that `--help` can list them without
TensorFlow.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar

from dlexp.errors import ConfigError, unknown_name

# Text only, so that `--help` and an unknown name list everything without importing TensorFlow. Tests compare the tables
# with what the modules register and, for keras.applications and optimizers, with what Keras offers.
_ZOO = {
    "mlp": "dlexp.models.zoo",
    "small_cnn": "dlexp.models.zoo",
    "resnet20": "dlexp.models.resnet",
    "resnet32": "dlexp.models.resnet",
    "resnet56": "dlexp.models.resnet",
    "vit_tiny": "dlexp.models.vit",
}
APPLICATIONS: tuple[str, ...] = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge"),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *("EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3"),
    *("EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7"),
    *("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3"),
    *("EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile"),
    *("ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2"),
    *("VGG16", "VGG19"),
    "Xception",
)
_MODELS = _ZOO | dict.fromkeys(APPLICATIONS, "dlexp.models.applications")
_SOURCES = {
    "digits": "dlexp.datasets.sources.arrays",
    "npz": "dlexp.datasets.sources.arrays",
    "idx": "dlexp.datasets.sources.idx",
    "folder": "dlexp.datasets.sources.folder",
    "pack": "dlexp.datasets.sources.pack",
    "table": "dlexp.datasets.sources.table",
    "keras": "dlexp.datasets.sources.keras_datasets",
    "tfds": "dlexp.datasets.sources.tfds",
    "hf": "dlexp.datasets.sources.huggingface",
}
_AUGMENTATIONS = {
    "flip": "dlexp.datasets.augmentation.geometry",
    "crop": "dlexp.datasets.augmentation.geometry",
    "rotation": "dlexp.datasets.augmentation.geometry",
    "color": "dlexp.datasets.augmentation.colors",
    "randaugment": "dlexp.datasets.augmentation.randaugment",
    "erasing": "dlexp.datasets.augmentation.erasing",
    "mixup": "dlexp.datasets.augmentation.mixing",
    "cutmix": "dlexp.datasets.augmentation.mixing",
}
_TRACKERS = {
    "mlflow": "dlexp.tracking.mlflow.tracker",
    "tensorboard": "dlexp.tracking.tensorboard",
    "wandb": "dlexp.tracking.wandb",
}
_LOSSES = dict.fromkeys(("cross_entropy", "focal", "binary_cross_entropy"), "dlexp.evaluation.losses")
_METRICS = dict.fromkeys(
    (
        *("accuracy", "top5_accuracy", "balanced_accuracy", "precision", "recall", "f1_score", "macro_f1"),
        *("f_beta_score", "auc", "mean_io_u", "one_hot_mean_io_u", "categorical_accuracy"),
        *("sparse_categorical_accuracy", "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"),
        *("cross_entropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "kl_divergence"),
        *("cosine_similarity", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "poisson"),
    ),
    "dlexp.evaluation.metrics",
)
OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion"),
    *("muon", "nadam", "rmsprop", "schedule_free_adamw", "sgd"),
)

Builder = TypeVar("Builder", bound=Callable[..., Any])


class Registry:
    """Builders of one kind by name.

    Attributes:
        kind: what the builders make, in the singular, for messages.
        entry_point_group: installed packages add builders under this group of entry points.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str], *, plural: str = "") -> None:
        self.kind = kind
        self.entry_point_group = f"dlexp.{plural or f'{kind}s'}"
        self._builders: dict[str, Callable[..., Any]] = {}
        self._builtin = dict(builtin)
        self._modules = dict(builtin)
        self._seen_entry_points = False

    def register(self, name: str) -> Callable[[Builder], Builder]:
        """Returns a decorator that adds a builder under `name`.

        Raises:
            ConfigError: the name is taken by another builder. Importing one file twice is no conflict.
        """

        def add(builder: Builder) -> Builder:
            taken = self._builders.get(name)
            if taken is not None and not _same_definition(builder, taken):
                raise ConfigError(
                    f"{self.kind} name {name!r} is registered twice, by {_origin(taken)} and by {_origin(builder)}: "
                    "rename one of them"
                )
            self._builders[name] = builder
            return builder

        return add

    def names(self) -> list[str]:
        """Returns all names, sorted without regard to case."""
        self._load_entry_points()
        return sorted({*self._builders, *self._modules}, key=str.lower)

    def builtin_names(self) -> list[str]:
        """Returns the names that dlexp itself registers, in the order of this module's tables."""
        return list(self._builtin)

    def builtin_module(self, name: str) -> str:
        """Returns the module of dlexp that registers a built-in name."""
        return self._builtin[name]

    def import_builtin(self) -> None:
        """Imports the modules of all built-in names now, so that processes forked from this one have them."""
        for module in self._builtin.values():
            importlib.import_module(module)

    def is_builtin(self, name: str) -> bool:
        """Returns whether dlexp itself registers `name`; it is then known what the builder makes."""
        return name in self._builtin

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def check(self, name: str) -> None:
        """Raises UnknownNameError, listing the nearest and all names, if nothing is registered under `name`."""
        if name not in self:
            raise unknown_name(self.kind, name, self.names())

    def get(self, name: str) -> Callable[..., Any]:
        """Returns the builder registered under `name`; imports its module if necessary.

        Raises:
            UnknownNameError: nothing is registered under `name`.
            ConfigError: the module that should register `name` does not.
        """
        self.check(name)
        if name not in self._builders:
            importlib.import_module(self._modules[name])
        if name not in self._builders:
            raise ConfigError(
                f"module {self._modules[name]} does not register the {self.kind} {name!r}: decorate the builder with "
                f"@register_{self.kind}({name!r}), or correct the entry point"
            )
        return self._builders[name]

    @contextlib.contextmanager
    def override(self, name: str, builder: Callable[..., Any]) -> Iterator[None]:
        """Registers `builder` under `name` until the block ends; then the previous builder, or none, is restored.

        For tests, and for notebooks that try one builder in place of another.

        Example:
            >>> with SOURCES.override("digits", lambda spec, *, data_dir: my_source):
            ...     dataset = open_dataset(DataConfig(dataset="digits"))
        """
        if name in self:
            self.get(name)  # imports its module now: an import within the block would register the name twice
        with self.isolated():
            self._builders[name] = builder
            yield

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Removes, when the block ends, what a plug-in or a decorator registered within it.

        Builders that were registered before are restored. Those of built-in modules that were first imported within the
        block stay: Python does not import a module twice, so they would be lost.
        """
        before = dict(self._builders)
        try:
            yield
        finally:
            imported = {name: builder for name, builder in self._builders.items() if name in self._modules}
            self._builders = imported | before

    def _load_entry_points(self) -> None:
        if self._seen_entry_points:
            return
        self._seen_entry_points = True
        for entry_point in entry_points(group=self.entry_point_group):
            self._modules.setdefault(entry_point.name, entry_point.module)


MODELS = Registry("model", _MODELS)
SOURCES = Registry("source", _SOURCES)
AUGMENTATIONS = Registry("augmentation", _AUGMENTATIONS)
CALLBACKS = Registry("callback", {})
TRACKERS = Registry("tracker", _TRACKERS)
LOSSES = Registry("loss", _LOSSES, plural="losses")
METRICS = Registry("metric", _METRICS)


def registered_names() -> dict[str, Sequence[str]]:
    """Returns the names that experiment flags accept, by kind, for help texts."""
    return {
        "models": MODELS.names(),
        "datasets": SOURCES.names(),
        "augmentations": AUGMENTATIONS.names(),
        "optimizers": OPTIMIZERS,
        "losses": LOSSES.names(),
        "metrics": METRICS.names(),
    }


def register_model(name: str) -> Callable[[Builder], Builder]:
    """Registers `build(input_shape, num_classes, **model_args) -> keras.Model` as `--model=name`.

    `input_shape` is (height, width, channels). The model takes raw pixels in [0, 255] as `(batch, height, width,
    channels)` and scales them itself; it returns logits `(batch, num_classes)` and is not compiled.

    A builder with an argument `statistics` gets the mean and variance of each channel over the pixels of the training
    split, in units of pixels, as `keras.layers.Normalization(mean=statistics.mean, variance=statistics.variance)` takes
    them.

    Example:
        >>> @register_model("linear")
        ... def build_linear(input_shape, num_classes):
        ...     layers = keras.layers
        ...     return keras.Sequential([layers.Input(input_shape), layers.Rescaling(1 / 255), layers.Flatten(),
        ...                              layers.Dense(num_classes)])
    """
    return MODELS.register(name)


def register_source(name: str) -> Callable[[Builder], Builder]:
    """Registers `open(spec, *, data_dir) -> dlexp.datasets.Source` as `--dataset=name:spec`.

    `spec` is the text after the colon, `data_dir` the folder that relative paths start from. A source that caches what
    it has read may also take `reread`, a boolean: with True, as `dlexp data verify` gives, it reads every byte again.

    Example:
        >>> @register_source("noise")
        ... def open_noise(spec, *, data_dir):
        ...     images = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
        ...     return ArraySource("noise", images, labels=np.arange(100) % 2, class_names=("even", "odd"))
    """
    return SOURCES.register(name)


def register_augmentation(name: str) -> Callable[[Builder], Builder]:
    """Registers an augmentation as `--augment=name`; its contract is in `dlexp.datasets.augmentation.augment`."""
    return AUGMENTATIONS.register(name)


def register_callback(name: str) -> Callable[[Builder], Builder]:
    """Registers `build() -> keras.callbacks.Callback`, or such a class, as `--callbacks=name`.

    A callback with state that lasts from epoch to epoch defines `get_state() -> dict`, with values that JSON can hold,
    and `set_state(dict)`: checkpoints store the state, and a resume sets it after `on_train_begin`. A callback may
    change the training, because it is called before the checkpoints of an epoch are written.

    Example:
        >>> @register_callback("count_epochs")
        ... class CountEpochs(keras.callbacks.Callback):
        ...     count = 0
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         self.count += 1
        ...     def get_state(self):
        ...         return {"count": self.count}
        ...     def set_state(self, state):
        ...         self.count = state["count"]
    """
    return CALLBACKS.register(name)


def register_tracker(name: str) -> Callable[[Builder], Builder]:
    """Registers `build(tracking: TrackingConfig) -> dlexp.Tracker`, or such a class, as `--trackers=name`.

    Example:
        >>> @register_tracker("print")
        ... class PrintTracker(Tracker):
        ...     name = "print"
        ...     def __init__(self, tracking):
        ...         pass
        ...     def start(self, description):
        ...         print(description.name)
        ...     def resume(self, description, points):
        ...         print(description.name, len(points))
        ...     def log_points(self, points):
        ...         print(*points)
        ...     def finish(self, status):
        ...         print(status)
    """
    return TRACKERS.register(name)


def register_loss(name: str) -> Callable[[Builder], Builder]:
    """Registers `build(num_classes, **loss_args) -> loss` as `--loss=name`.

    `loss(labels, logits)` takes `float32` tensors `(batch, num_classes)` and returns losses `(batch,)`. Labels are
    one-hot, or soft with label smoothing, MixUp and CutMix. A `keras.losses.Loss` may be returned too: its `call` is
    used. Training and evaluation report it as `loss`, and `cross_entropy` in addition. Test yours with
    `dlexp.testing.LossContract`.

    Example:
        >>> @register_loss("squared")
        ... def build_squared(num_classes):
        ...     return lambda labels, logits: keras.ops.sum((labels - keras.ops.softmax(logits)) ** 2, axis=-1)
    """
    return LOSSES.register(name)


def register_metric(name: str) -> Callable[[Builder], Builder]:
    """Registers `build(num_classes) -> keras.metrics.Metric`, or such a class, as `--metrics=name`.

    The metric takes labels, one-hot or soft, and logits, both `(batch, num_classes)`, and its
    result is a scalar over all batches since the last reset, however they were cut. To monitor it, say which values are
    better: `--monitor=val_name --monitor_mode=max`. Test yours with `dlexp.testing.MetricContract`.

    Example:
        >>> @register_metric("confidence")
        ... def build_confidence(num_classes):
        ...     return keras.metrics.MeanMetricWrapper(
        ...         lambda labels, logits: keras.ops.max(keras.ops.softmax(logits), axis=-1))
    """
    return METRICS.register(name)


def _same_definition(builder: Callable[..., Any], taken: Callable[..., Any]) -> bool:
    return _origin(builder) == _origin(taken)


def _origin(builder: Callable[..., Any]) -> str:
    return f"{getattr(builder, '__module__', '?')}.{getattr(builder, '__qualname__', repr(builder))}"
