"""Jets at a hadron collider: the task, its loaders and a generator of such jets."""

from pareq.tasks.jets.task import Jets

__all__ = ["Jets"]
