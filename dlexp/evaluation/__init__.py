"""Evaluation of a model on a split: predictions, scores, calibration, pictures and the report that shows them."""
