"""Training: a run is a folder that can be killed at any moment and continued bit for bit."""
