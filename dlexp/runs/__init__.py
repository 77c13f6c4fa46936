"""Runs on disk: folder, record, points, recipe and environment; lists, finds and resumes runs."""
