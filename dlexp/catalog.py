"""The built-in names of models, sources and augmentations, each with the module that registers it; of optimizers too.

Text only, so that `--help` and an unknown name can list everything without importing TensorFlow. Tests hold it equal
to what the modules register and, for keras.applications and optimizers, to what Keras offers.
"""

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

MODELS = _ZOO | dict.fromkeys(APPLICATIONS, "dlexp.models.applications")

SOURCES = {
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

AUGMENTATIONS = dict.fromkeys(
    ("flip", "crop", "rotation", "color", "randaugment", "erasing", "mixup", "cutmix"),
    "dlexp.datasets.augmentation.augment",
)

TRACKERS = {"tensorboard": "dlexp.tracking.tensorboard", "wandb": "dlexp.tracking.wandb"}

OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lamb", "lion"),
    *("muon", "nadam", "rmsprop", "schedule_free_adamw", "sgd"),
)
