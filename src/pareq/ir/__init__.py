"""The integer graph: what a deployed network is, computed exactly, on disk and in numpy."""
