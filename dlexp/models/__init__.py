"""Models by name: small ones of our own, and every network of keras.applications."""

from dlexp.models.build import build_model, custom_layers

__all__ = ["build_model", "custom_layers"]
