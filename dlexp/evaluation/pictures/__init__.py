"""The pictures of an evaluation: confusion matrix, curves, calibration, scores per class, and image galleries."""
