"""Sources that Keras downloads: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100 (https://keras.io/api/datasets)."""

import os
from dataclasses import dataclass

import numpy as np

from dlexp.datasets.sources.source import ArraySource, Source
from dlexp.errors import DataError, unknown_name
from dlexp.registry import register_source


@dataclass(frozen=True)
class _KerasDataset:
    """Class names in the order of the labels, and the file that Keras caches in its folder `datasets`."""

    class_names: tuple[str, ...]
    cached_as: str


_DATASETS = {
    "mnist": _KerasDataset(tuple("0123456789"), "mnist.npz"),
    # https://github.com/zalandoresearch/fashion-mnist#labels
    "fashion_mnist": _KerasDataset(
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        "fashion-mnist/train-images-idx3-ubyte.gz and the three other files of its folder",
    ),
    # `label_names` of batches.meta, https://www.cs.toronto.edu/~kriz/cifar.html
    "cifar10": _KerasDataset(
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        "cifar-10-python.tar.gz, named cifar-10-batches-py-target_archive,",
    ),
    # `fine_label_names` of meta, the same page: sorted by name
    "cifar100": _KerasDataset(
        (
            *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl"),
            *("boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair"),
            *("chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin"),
            *("elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp"),
            *("lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain"),
            *("mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck"),
            *("pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road"),
            *("rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider"),
            *("squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television"),
            *("tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf"),
            *("woman", "worm"),
        ),
        "cifar-100-python.tar.gz, named cifar-100-python-target_archive,",
    ),
}


@register_source("keras")
def open_keras(spec: str, *, data_dir: str) -> Source:
    """Opens a dataset of `keras.datasets` with its official train and test splits, from Keras' cache or by a download.

    Args:
        spec: mnist, fashion_mnist, cifar10 or cifar100 (its 100 fine classes).
        data_dir: not used; the cache is `datasets` in `~/.keras`, or in KERAS_HOME.

    Raises:
        UnknownNameError: there is no such dataset.
        DataError: it is not in the cache and cannot be downloaded, or is damaged.
    """
    if spec not in _DATASETS:
        raise unknown_name("Keras dataset", spec, _DATASETS)
    dataset = _DATASETS[spec]
    import keras

    try:
        (train_images, train_labels), (test_images, test_labels) = getattr(keras.datasets, spec).load_data()
    except Exception as err:
        cache = os.path.join(os.environ.get("KERAS_HOME") or "~/.keras", "datasets")
        raise DataError(
            f"dataset keras:{spec} must be downloaded once, and that failed ({err}): copy {dataset.cached_as} into "
            f"{cache} from a machine where it was loaded"
        ) from err
    images = np.concatenate([train_images, test_images])
    labels = np.concatenate([np.ravel(train_labels), np.ravel(test_labels)])
    splits = np.repeat(["train", "test"], [len(train_images), len(test_images)]).tolist()
    return ArraySource(spec, images, labels, dataset.class_names, splits=splits)
