"""pareq: neural networks small, fast and exact.

Prune and quantize weights and activations together while a network trains, in any order.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

__version__ = version("pareq")

_CONTENTS = {
    "After": "operators.schedule",
    "Artefact": "backends",
    "Attached": "attach.attach",
    "BACKENDS": "backends",
    "Ebops": "quantizers",
    "FanIn": "pruners",
    "FixedPoint": "quantizers",
    "Graph": "ir.graph",
    "Grid": "numerics.grid",
    "L1": "pruners",
    "LearnedBits": "quantizers",
    "LearnedScale": "quantizers",
    "Levels": "operators.schedule",
    "Luts": "quantizers",
    "MaxAbs": "quantizers",
    "OPERATORS": "operators.base",
    "Operator": "operators.base",
    "PareqError": "errors",
    "Prune": "pruners",
    "PruneActivation": "pruners",
    "Quantizer": "operators.base",
    "Ramp": "operators.schedule",
    "Recipe": "recipe.recipe",
    "Rule": "recipe.recipe",
    "Schedule": "operators.schedule",
    "Stairs": "operators.schedule",
    "TASKS": "tasks.base",
    "Training": "recipe.recipe",
    "Trial": "train.trial",
    "Uniform": "quantizers",
    "Verilog": "backends",
    "area": "backends",
    "attach": "attach.attach",
    "build": "backends",
    "cost": "metrics.probe",
    "dump_recipe": "recipe.config",
    "evaluate": "ir.execute",
    "find_recipe": "recipe.presets",
    "load_artefact": "train.deploy",
    "load_graph": "ir.store",
    "load_recipe": "recipe.config",
    "lower": "lower.lower",
    "measure": "backends",
    "report": "report.page",
    "save_graph": "ir.store",
    "train": "train.loop",
    "train_population": "train.population",
    "verify": "backends",
}

__all__ = ["__version__", *sorted(_CONTENTS)]


def __getattr__(name: str) -> object:
    if name not in _CONTENTS:
        raise AttributeError(f"module 'pareq' has no attribute {name!r}")
    thing: object = getattr(import_module(f"pareq.{_CONTENTS[name]}"), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *_CONTENTS})


class _Contents(ModuleType):
    """Keeps `pareq.attach` the function when the import system binds the folder of that name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _CONTENTS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Contents
