"""Metrics: how well a network does, and what it costs."""
