"""What a model does on a split: predictions, scores, calibration, pictures, and a report of all of it."""
