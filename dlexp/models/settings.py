"""The settings of Keras that a model is built, rebuilt and loaded with: its layers read them when they are made."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def use_settings(dtype_policy: str) -> Iterator[None]:
    """Sets a precision policy, and channels last as images have them, during the block, whatever the process uses.

    A functional model keeps the policy of each layer in its config. A subclass makes its layers anew, with the policy
    that is then set.
    """
    previous = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.config.set_dtype_policy(dtype_policy)
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous[0])
        keras.config.set_image_data_format(previous[1])
