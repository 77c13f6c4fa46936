"""Runs on disk: folder, record, points, recipe, environment; how runs are listed, found and resumed."""
