"""Many variants of one network, trained as one computation with a leading member axis."""

from pareq.train.population.train import train_population

__all__ = ["train_population"]
