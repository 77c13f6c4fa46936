"""How every picture and page looks: figures, galleries, curves of a run, and the frame of a page."""
