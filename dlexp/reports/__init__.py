"""Pictures and pages in one style: figures, image grids, curves of a run, and the frame of HTML pages."""
