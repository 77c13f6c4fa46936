"""Models by name: small models of dlexp, and every network of keras.applications."""

from dlexp.models.build import build_model
from dlexp.models.contract import custom_layers

__all__ = ["build_model", "custom_layers"]
