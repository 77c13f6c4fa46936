"""Estimates the memory of one example's activations at the peak of a training step.

The backward pass needs the input of some layers (a convolution), the result of others (a ReLU), and nothing of the rest
(a sum). What several layers need is kept once. TensorFlow frees all other tensors at once, and a kept one when the
backward pass has come to the first layer that needs it. To what is kept then come the gradients of the layer that the
backward pass is at.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf

from dlexp.models.keras_internals import LayerGraph, layer_graph
from dlexp.models.probe import trace_call, unchanged

_LAYERS = keras.layers
# Layers by what the backward pass through them needs. What is needed of an activation comes in addition.
_KEEP_NOTHING = (
    *(_LAYERS.Add, _LAYERS.Subtract, _LAYERS.Average, _LAYERS.Concatenate, _LAYERS.Identity, _LAYERS.Permute),
    *(_LAYERS.ZeroPadding1D, _LAYERS.ZeroPadding2D, _LAYERS.Cropping1D, _LAYERS.Cropping2D, _LAYERS.RepeatVector),
    *(_LAYERS.UpSampling1D, _LAYERS.UpSampling2D, _LAYERS.Rescaling, _LAYERS.Normalization),
    *(_LAYERS.AveragePooling1D, _LAYERS.AveragePooling2D),
    *(_LAYERS.GlobalAveragePooling1D, _LAYERS.GlobalAveragePooling2D),
)
_KEEP_INPUTS = (
    *(_LAYERS.Conv1D, _LAYERS.Conv2D, _LAYERS.Conv3D, _LAYERS.Conv2DTranspose, _LAYERS.DepthwiseConv2D),
    *(_LAYERS.SeparableConv2D, _LAYERS.Dense, _LAYERS.EinsumDense, _LAYERS.MultiHeadAttention),
    *(_LAYERS.Multiply, _LAYERS.PReLU),
)
_KEEP_RESULT = (_LAYERS.ReLU, _LAYERS.Softmax)
_NORMALIZATIONS = (_LAYERS.BatchNormalization, _LAYERS.LayerNormalization, _LAYERS.GroupNormalization)
_DROPOUTS = (_LAYERS.Dropout, _LAYERS.SpatialDropout1D, _LAYERS.SpatialDropout2D)
_SAME_MEMORY = (_LAYERS.Flatten, _LAYERS.Reshape)
_LINEAR = "linear"
# Activations whose gradient is computed from their result; that of all others is computed from their input, or from so
# many tensors of its size within their formula.
_FROM_RESULT = {"relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu"}
_WITHIN_ACTIVATION = {"gelu": 3}

# The same for operations of a traced graph.
_OPERATIONS_KEEP_INPUTS = {
    *("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"),
    *("Mul", "RealDiv", "SquaredDifference", "Square", "Pow", "Erf", "Log", "Log1p", "Softplus", "LeakyRelu"),
    *("FusedBatchNormV3", "MaxPool", "Maximum", "Minimum"),
}
_OPERATIONS_KEEP_RESULT = {
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Softmax", "Exp", "Rsqrt", "Sqrt", "Elu", "Selu", "MaxPool"),
}
_OPERATIONS_OF_SAME_MEMORY = {"Identity", "Reshape", "Squeeze", "ExpandDims", "StopGradient"}


def activation_bytes(model: keras.Model, input_shape: Sequence[int]) -> int:
    """Estimates the bytes of one example's activations at the peak of a training step.

    The estimate of a model made of layers takes milliseconds; any other model is traced. What happens within an unknown
    layer does not count: the estimate is too low rather than too high.

    Args:
        model: built.
        input_shape: (height, width, channels).
    """
    graph = layer_graph(model)
    if graph is None:
        with unchanged(model):
            return _kept_of_trace(trace_call(model, input_shape, training=True).graph)
    step = _Step()
    step.follow(graph, [step.tensor(input_shape, "uint8", learns=False)])
    return step.peak


@dataclass(frozen=True)
class _Tensor:
    """One example of a tensor; `learns` says that a gradient flows back through it."""

    number: int
    shape: Sequence[int]
    dtype: str
    learns: bool

    def bytes(self, dtype: str = "") -> int:
        return math.prod(self.shape) * bytes_of(dtype or self.dtype)


class _Step:
    """Follows the calls of layers, and adds up what the backward pass needs.

    Attributes:
        peak: bytes so far.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._numbers = itertools.count()
        self._kept: set[tuple[int, str]] = set()
        self._kept_bytes = 0

    def tensor(self, shape: Sequence[int | None], dtype: str, *, learns: bool) -> _Tensor:
        """Makes a tensor of one example; sizes that are not known count as 1."""
        return _Tensor(next(self._numbers), [size or 1 for size in shape], dtype, learns)

    def follow(self, graph: LayerGraph, inputs: Sequence[_Tensor]) -> list[_Tensor]:
        """Goes through the calls of a model, given its inputs, and returns its outputs."""
        known = dict(zip(map(id, graph.inputs), inputs, strict=True))
        for call in graph.calls:
            taken = [known[id(tensor)] for tensor in call.inputs]
            known |= zip(map(id, call.outputs), self._call(call.operation, taken, call.outputs), strict=True)
        return [known[id(tensor)] for tensor in graph.outputs]

    def _call(self, operation: Any, inputs: Sequence[_Tensor], outputs: Sequence[Any]) -> list[_Tensor]:
        inner = layer_graph(operation)
        if inner is not None and len(inner.inputs) == len(inputs):
            return self.follow(inner, inputs)
        learns = bool(getattr(operation, "trainable_variables", ())) or any(tensor.learns for tensor in inputs)
        if isinstance(operation, _SAME_MEMORY):
            return [replace(inputs[0], shape=[size or 1 for size in outputs[0].shape[1:]], learns=learns)]
        results = [self.tensor(tensor.shape[1:], tensor.dtype, learns=learns) for tensor in outputs]
        if learns:
            self._keep_for(operation, inputs, results)
            # Going back, the gradient of the inputs comes when the results are needed no longer.
            kept_for_inputs = self._kept_bytes - self._bytes_kept_of(results)
            gradients = [tensor for tensor in inputs if tensor.learns]
            going_back = max(self._kept_bytes, kept_for_inputs + _total_bytes(gradients)) + _total_bytes(results)
            self.peak = max(self.peak, going_back)
        else:
            self.peak = max(self.peak, self._kept_bytes + _total_bytes(inputs) + _total_bytes(results))
        return results

    def _keep_for(self, layer: Any, inputs: Sequence[_Tensor], results: Sequence[_Tensor]) -> None:
        """Keeps what the backward pass through a call needs."""
        activation = getattr(layer, "activation", None)
        if isinstance(layer, _LAYERS.Activation):
            self._keep_for_activation(activation, inputs, results)
        elif isinstance(layer, _DROPOUTS):
            self._kept_bytes += results[0].bytes("bool") if layer.rate else 0  # a mask
        elif isinstance(layer, _NORMALIZATIONS):
            self._keep(inputs, "float32")
            if not isinstance(layer, _LAYERS.BatchNormalization):
                self._kept_bytes += results[0].bytes("float32")  # a scale for every element
        elif isinstance(layer, _KEEP_INPUTS):
            self._keep(inputs, layer.compute_dtype)
            self._kept_bytes += _bytes_within(layer, inputs[0], results[0])
            self._keep_for_activation(activation, None, results)
        elif isinstance(layer, _KEEP_RESULT):
            self._keep(results)
        elif not isinstance(layer, _KEEP_NOTHING):
            self._keep([*inputs, *results])

    def _keep_for_activation(
        self, activation: Any, inputs: Sequence[_Tensor] | None, results: Sequence[_Tensor]
    ) -> None:
        """Keeps what the gradient of an activation needs; `inputs` are None if they are tensors within a layer."""
        name = getattr(activation, "__name__", _LINEAR)
        if name in _FROM_RESULT:
            self._keep(results)
        elif name in _WITHIN_ACTIVATION or (inputs is None and name != _LINEAR):
            self._kept_bytes += _WITHIN_ACTIVATION.get(name, 1) * results[0].bytes()
        elif inputs is not None and name != _LINEAR:
            self._keep(inputs)

    def _keep(self, tensors: Sequence[_Tensor], dtype: str = "") -> None:
        for tensor in tensors:
            key = tensor.number, dtype or tensor.dtype
            if key not in self._kept:
                self._kept.add(key)
                self._kept_bytes += tensor.bytes(dtype)

    def _bytes_kept_of(self, tensors: Sequence[_Tensor]) -> int:
        return _total_bytes([tensor for tensor in tensors if (tensor.number, tensor.dtype) in self._kept])


def _total_bytes(tensors: Sequence[_Tensor]) -> int:
    return sum(tensor.bytes() for tensor in tensors)


def bytes_of(dtype: str) -> int:
    """Returns the bytes of one number of a Keras dtype, such as 2 for bfloat16."""
    return int(tf.as_dtype(dtype).size)


def _bytes_within(layer: Any, inputs: _Tensor, results: _Tensor) -> int:
    """Bytes of tensors between the parts of a layer that the backward pass needs."""
    number = bytes_of(layer.compute_dtype)
    if isinstance(layer, _LAYERS.MultiHeadAttention):
        positions, heads = inputs.shape[0], layer.num_heads
        # Queries, keys, values and their weighted sums; the weights.
        vectors = positions * heads * 2 * (layer.key_dim + layer.value_dim)
        return number * (vectors + heads * positions**2)
    if isinstance(layer, _LAYERS.SeparableConv2D):
        return number * math.prod(results.shape[:2]) * inputs.shape[-1] * layer.depth_multiplier
    return 0


def _kept_of_trace(graph: Any) -> int:
    """Bytes of one example that the backward pass through a traced call needs, without those of functions it calls.

    Args:
        graph: traced for a batch of unknown size.
    """
    learning, memory, kept = set[int](), dict[int, int](), dict[int, int]()
    for operation in graph.get_operations():
        inputs, results = list(operation.inputs), list(operation.outputs)
        if operation.type != "ReadVariableOp" and not any(id(tensor) in learning for tensor in inputs):
            continue
        learning |= set(map(id, results))
        if operation.type in _OPERATIONS_OF_SAME_MEMORY:
            memory[id(results[0])] = memory.get(id(inputs[0]), id(inputs[0]))
            continue
        needed = inputs if operation.type in _OPERATIONS_KEEP_INPUTS else []
        needed = [*needed, *(results if operation.type in _OPERATIONS_KEEP_RESULT else [])]
        kept |= {memory.get(id(tensor), id(tensor)): _bytes_of_example(tensor) for tensor in needed}
    return sum(kept.values())


def _bytes_of_example(tensor: Any) -> int:
    """Bytes of one example of a traced tensor; 0 if it has no batch, as weights, or its size is not known."""
    shape = tensor.shape.as_list() if tensor.shape.rank else [1]
    if shape[0] is not None or None in shape[1:]:
        return 0
    return math.prod(shape[1:]) * int(tensor.dtype.size)
