"""The digits dataset of the peers: 80% for training, 20% for validation."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS, BATCH_SIZE = 5, 64


def load() -> tuple[Any, Any, Any, Any]:
    """Returns training images, validation images, training labels, validation labels; images `(n, 8, 8)` in [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    return tuple(train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels))
