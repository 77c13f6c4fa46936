"""What draws random numbers by itself: operations of a TensorFlow graph, and generators of Python and NumPy.

Does not import TensorFlow.
"""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

_ON_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
# Operations with a random state in the kernel; those with Stateless in their names get it as an input.
RANDOM_OPERATIONS = (
    *("Multinomial", "ParameterizedTruncatedNormal", "RandomCrop", "RandomGamma", "RandomPoisson", "RandomPoissonV2"),
    *("RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "SampleDistortedBoundingBox"),
    *("SampleDistortedBoundingBoxV2", "TruncatedNormal"),
)


def find_stateful_operations(graph: Any, *, on_python: bool = True) -> Iterator[tuple[str, str, str]]:
    """Finds operations of a TensorFlow graph that draw from the kernel or call Python.

    Args:
        graph: of a traced function.
        on_python: whether calls of Python count too.

    Returns:
        For each the name of the operation, of the inner function that it is in ("" for none), and of its kind.
    """
    definition = graph.as_graph_def()
    inner = ((function.signature.name, function.node_def) for function in definition.library.function)
    for function, nodes in (("", definition.node), *inner):
        for node in nodes:
            if node.op in RANDOM_OPERATIONS or (on_python and node.op in _ON_PYTHON):
                yield node.name, function, node.op


def state_of(generator: Any) -> str:
    """Returns the state of a generator of random numbers, such as `random` or `np.random`, as text to compare."""
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if hasattr(generator, "getstate"):
        return repr(generator.getstate())
    _, keys, *rest = generator.get_state()
    return f"{keys.tobytes().hex()} {rest}"


@contextlib.contextmanager
def keeping_python_random() -> Iterator[None]:
    """Restores the random numbers of Python and NumPy after the block."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
