"""Reference tasks: data, model, loss and metrics under one name."""

from pareq.tasks.base import TASKS, Data, Split, Task, make_task
from pareq.tasks.digits import Digits
from pareq.tasks.jets import Jets

__all__ = ["TASKS", "Data", "Digits", "Jets", "Split", "Task", "make_task"]
