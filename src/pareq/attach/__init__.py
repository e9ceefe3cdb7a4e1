"""Operators on the tensors of a model that stays the user's own."""
