"""Reference tasks: data, model, loss and metrics under one name."""

from pareq.tasks.base import TASKS, Data, Split, Task, make_task
from pareq.tasks.cifar10 import Cifar10
from pareq.tasks.detect import Detect
from pareq.tasks.digits import Digits
from pareq.tasks.facades import Facades
from pareq.tasks.jets import Jets
from pareq.tasks.superres import SuperResolution

__all__ = [
    "TASKS",
    "Cifar10",
    "Data",
    "Detect",
    "Digits",
    "Facades",
    "Jets",
    "Split",
    "SuperResolution",
    "Task",
    "make_task",
]
