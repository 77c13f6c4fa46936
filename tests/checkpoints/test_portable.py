"""The saved network of every built-in model computes what the trained one does."""

import pytest

from dlexp.checkpoints.portable import build_portable_model, check_saved_network
from dlexp.config.sections import ModelConfig
from dlexp.evaluation.metrics import portable_metrics
from dlexp.models import build_model

SHAPE, CLASSES = (32, 32, 3), 7


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", ["mlp", "small_cnn", "resnet20", "vit_tiny", "MobileNetV3Small"])
def test_a_built_in_model_is_saved_as_it_is(name: str, policy: str) -> None:
    arguments = {"weights": "none"} if name == "MobileNetV3Small" else {}
    model = build_model(ModelConfig(model=name, model_args=arguments), SHAPE, CLASSES, dtype_policy=policy)
    saved = build_portable_model(model, metrics=portable_metrics(), name=name)
    check_saved_network(model, saved, input_shape=SHAPE, name=name)
    assert saved is not model
    assert [weight.path for weight in saved.weights] == [weight.path for weight in model.weights]
