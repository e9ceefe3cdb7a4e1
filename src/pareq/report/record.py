"""The quality, cost and weights that a run stored, with types; what does not fit is one error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from pareq.errors import ReportError, at
from pareq.metrics.cost import Cost
from pareq.metrics.quality import ClassQuality, Quality, Roc
from pareq.train.run import Run

__all__ = ["check_types", "read_cost", "read_figures", "read_quality", "read_roc", "read_tensors"]

Record = Mapping[str, object]

_WANTED: Final[Mapping[str, tuple[str, type | tuple[type, ...]]]] = {  # else: a text
    "seed": ("a whole number", int),
    "threads": ("a whole number", int),
    "task_options": ("an object", dict),
    "classes": ("a list", tuple),
    "command": ("a list or null", (tuple, type(None))),
}


def check_types(run: Run) -> None:
    """Raise ReportError when a file of the run holds a text for a number, or the like."""
    about, result = asdict(run.about), run.result
    with at("run.json"):
        for name, value in about.items():
            wanted, right = _WANTED.get(name, ("a text", str))
            if not isinstance(value, right) or isinstance(value, bool):
                raise ReportError(f"{name}: {wanted} was expected, got {_shown(value)}")
        for name in ("classes", "command"):
            if not all(isinstance(entry, str) for entry in about[name] or ()):
                raise ReportError(f"{name}: texts were expected, got {_shown(about[name])}")
    if result is not None:
        with at("result.json"):
            for name in ("epochs", "best_epoch", "seconds"):
                _number(asdict(result), name)
            for name, entry in (("test", result.test), ("cost", result.cost)):
                if not isinstance(entry, dict):
                    raise ReportError(f"{name}: an object was expected, got {_shown(entry)}")


def read_quality(record: Record) -> Quality:
    """What `Quality.as_dict` gave, among other things, after JSON; all figures must be finite."""
    known = {f.name for f in fields(Quality)}
    if not record.keys() & known:
        raise ReportError("no classes were told apart; only such runs can be reported")
    try:
        quality = Quality.from_dict({key: record[key] for key in record.keys() & known})
    except TypeError as error:
        raise ReportError(f"a value of the wrong type ({error})") from None
    _check_numbers(quality, Quality)
    for entry in quality.classes:
        _check_numbers(entry, ClassQuality)
    return quality


def read_figures(record: Record, wanted: str) -> dict[str, float]:
    """The numbers that a task without labels gave, of which `wanted` must be one; all finite."""
    names = [name for name, value in record.items() if isinstance(value, int | float)]
    return {name: _number(record, name) for name in dict.fromkeys((wanted, *names))}


def read_cost(record: Record) -> Cost:
    """What `Cost.as_dict` gave, after JSON."""
    try:
        cost = Cost.from_dict(record)
    except TypeError as error:
        raise ReportError(f"a value of the wrong type ({error})", where="cost") from None
    if not cost.rows:
        raise ReportError("no layer was counted", where="cost")
    return cost


def read_roc(record: object) -> Roc:
    """What `Roc.as_dict` gave, after JSON."""
    table = _table(record)
    signal, background = (_fractions(table, key) for key in ("signal", "background"))
    if len(signal) != len(background) or len(signal) < 2:
        raise ReportError(f"{len(signal)} signal and {len(background)} background efficiencies")
    return Roc(signal=signal, background=background, auc=_number(table, "auc"))


def read_tensors(file: Path, *, header_only: bool = False) -> dict[str, npt.NDArray[np.float64]]:
    """The tensors of a safetensors file, flattened; `header_only` checks that the file is whole."""
    try:
        with safe_open(file, framework="numpy") as opened:
            names = () if header_only else opened.keys()
            return {name: np.asarray(opened.get_tensor(name), np.float64).ravel() for name in names}
    except (SafetensorError, OSError, TypeError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise ReportError(f"cannot be read ({what})", where=file.name) from None


def _check_numbers(made: Quality | ClassQuality, kind: type[Quality] | type[ClassQuality]) -> None:
    record = {f.name: getattr(made, f.name) for f in fields(kind)}
    for name in record.keys() - {"classes", "confusion", "name"}:
        _number(record, name)


def _number(record: Record, key: str) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ReportError(f"{key}: a finite number was expected, got {_shown(value)}")
    return float(value)


def _fractions(record: Record, key: str) -> tuple[float, ...]:
    values = _list(record.get(key))
    return tuple(_number({f"{key}[{i}]": v}, f"{key}[{i}]") for i, v in enumerate(values))


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise ReportError(f"a list was expected, got {_shown(value)}")
    return value


def _table(value: object) -> Record:
    if not isinstance(value, dict):
        raise ReportError(f"an object was expected, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
