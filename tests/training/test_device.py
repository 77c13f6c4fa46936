"""The device that TensorFlow trains on; no device is really changed."""

from typing import Any
from unittest import mock

import pytest
import tensorflow as tf

from dlexp.errors import ConfigError
from dlexp.training.device import use_device

GPUS = ["first GPU", "second GPU"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Everything of tf.config that is called, on a machine with two GPUs."""
    fake = mock.Mock()
    fake.list_physical_devices.return_value = GPUS
    fake.LogicalDeviceConfiguration.side_effect = lambda memory_limit: f"{memory_limit} MiB"
    monkeypatch.setattr(tf, "config", fake)
    return fake


def test_cpu_hides_every_gpu(settings: Any) -> None:
    use_device("cpu", limit_bytes=2**30)
    settings.set_visible_devices.assert_called_once_with([], "GPU")
    settings.set_logical_device_configuration.assert_not_called()


@pytest.mark.parametrize(("device", "name"), [("gpu", "first GPU"), ("gpu:0", "first GPU"), ("gpu:1", "second GPU")])
def test_only_the_gpu_of_the_name_is_visible(settings: Any, device: str, name: str) -> None:
    use_device(device)
    settings.set_visible_devices.assert_called_once_with([name], "GPU")


def test_gpu_with_a_limit_takes_no_more(settings: Any) -> None:
    use_device("gpu:1", limit_bytes=3 * 2**30)
    settings.set_logical_device_configuration.assert_called_once_with("second GPU", ["3072 MiB"])
    settings.experimental.set_memory_growth.assert_not_called()


def test_gpu_without_a_limit_takes_what_it_needs(settings: Any) -> None:
    use_device("gpu:1")
    settings.experimental.set_memory_growth.assert_called_once_with("second GPU", True)
    settings.set_logical_device_configuration.assert_not_called()


@pytest.mark.parametrize("device", ["gpu:2", "gpu:17"])
def test_gpu_that_tensorflow_does_not_see_is_refused(settings: Any, device: str) -> None:
    with pytest.raises(ConfigError, match=rf"^device {device} is not there for TensorFlow, which sees 2 GPUs: "):
        use_device(device)
    settings.set_visible_devices.assert_not_called()
