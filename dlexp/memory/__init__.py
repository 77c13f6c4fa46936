"""How much memory trainings need, and the batch size that follows: the heaviest model sets one for all.

`choice` and `largest_batch` ask for the largest batch of every model. `search` finds one from few measurements.
`prober` runs each measurement in a separate process (`probe`), which trains as `dlexp train` does, only shorter
(`short_run`). `results` and `picture` show what was found.
"""
