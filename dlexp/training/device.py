"""Chooses the device that TensorFlow trains on, before it uses one, and how much of its memory it takes."""

import tensorflow as tf

from dlexp.errors import ConfigError

_MIB = 2**20


def use_device(device: str, *, limit_bytes: int = 0) -> None:
    """Makes one device visible to TensorFlow; call it before anything runs on a device.

    Args:
        device: `cpu`, `gpu` or `gpu:N`.
        limit_bytes: memory that TensorFlow may take of the GPU; 0: it takes what it needs, and keeps it.

    Raises:
        ConfigError: TensorFlow sees no such GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    name, _, number = device.partition(":")
    if name == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return
    if int(number or 0) >= len(gpus):
        raise ConfigError(
            f"device {device} is not there for TensorFlow, which sees {len(gpus)} GPUs: install "
            "tensorflow[and-cuda], set CUDA_VISIBLE_DEVICES, or choose another device"
        )
    gpu = gpus[int(number or 0)]
    tf.config.set_visible_devices([gpu], "GPU")
    if limit_bytes:
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=limit_bytes // _MIB)
        tf.config.set_logical_device_configuration(gpu, [limit])
    else:
        tf.config.experimental.set_memory_growth(gpu, True)
