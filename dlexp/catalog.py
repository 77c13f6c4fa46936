"""The built-in names of models, sources and augmentations, each with the module that registers it.

Text only, so that `--help` and an unknown name can list everything without importing TensorFlow. Tests hold it equal
to what the modules register and, for keras.applications, to what Keras offers.
"""

_ZOO = {
    "mlp": "dlexp.models.zoo",
    "small_cnn": "dlexp.models.zoo",
    "resnet20": "dlexp.models.resnet",
    "resnet32": "dlexp.models.resnet",
    "resnet56": "dlexp.models.resnet",
    "vit_tiny": "dlexp.models.vit",
}

APPLICATIONS: tuple[str, ...] = ()

MODELS = _ZOO | dict.fromkeys(APPLICATIONS, "dlexp.models.applications")

SOURCES = {
    "digits": "dlexp.datasets.arrays",
    "npz": "dlexp.datasets.arrays",
    "idx": "dlexp.datasets.idx",
    "folder": "dlexp.datasets.folder",
}

AUGMENTATIONS = dict.fromkeys(
    ("flip", "crop", "rotation", "color", "randaugment", "erasing", "mixup", "cutmix"), "dlexp.datasets.augment"
)
