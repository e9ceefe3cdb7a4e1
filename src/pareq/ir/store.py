"""A graph on disk: a folder with `graph.json` (structure) and `constants.safetensors` (arrays).

The JSON names the format and its version and carries two checksums, of the file of arrays and of
itself. Nothing in it is a path or code. What is damaged, truncated, of another version or no whole
graph is refused with one line; a graph that loads is the graph that was saved.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from pareq.errors import GraphError, at
from pareq.ir.attributes import Attribute, Attributes
from pareq.ir.graph import Constant, Graph, Input, Op, Value
from pareq.numerics.grid import Grid
from pareq.numerics.rounding import Overflow, Rounding

__all__ = ["VERSION", "load_graph", "save_graph"]

VERSION = 1

_FORMAT = "pareq-graph"
_STRUCTURE = "graph.json"
_ARRAYS = "constants.safetensors"
_LARGEST = 2**32  # bytes of either file
_TYPES = tuple(np.dtype(name) for name in ("int8", "uint8", "int16", "uint16", "int32", "int64"))

T = TypeVar("T")
Plain = dict[str, object]
Arrays = dict[str, npt.NDArray[np.generic]]


def save_graph(graph: Graph, folder: str | os.PathLike[str]) -> Path:
    """Write a graph into a folder, which is made when it is absent; return the folder.

    Raises GraphError when the graph is not whole.
    """
    graph.check()
    place = Path(folder)
    arrays: Arrays = {}
    structure = _structure(graph, arrays)
    data = save_arrays(arrays)
    content: Plain = {"arrays": _digest(data), "graph": structure}
    whole = {"format": _FORMAT, "version": VERSION, "checksum": _checksum(content), **content}
    place.mkdir(parents=True, exist_ok=True)
    _replace(place / _ARRAYS, data)
    _replace(place / _STRUCTURE, json.dumps(whole, indent=1, allow_nan=False).encode())
    return place


def load_graph(folder: str | os.PathLike[str]) -> Graph:
    """Read a graph that `save_graph` wrote, and check it.

    Raises GraphError, or GridError or UnknownName for a graph that cannot be, with the folder.
    """
    place = Path(folder)
    with at(str(place)):
        content = _parse(_read(place / _STRUCTURE))
        data = _read(place / _ARRAYS)
        if _digest(data) != _get(content, "arrays", str):
            raise GraphError(f"{_ARRAYS} is damaged: its checksum differs; save the graph again")
        try:
            arrays: Arrays = dict(load_arrays(data))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise GraphError(f"{_ARRAYS} cannot be read: {error}") from None
        return _graph(_get(content, "graph", dict), arrays).check()


# -- out ----------------------------------------------------------------------------------------


def _structure(graph: Graph, arrays: Arrays) -> Plain:
    """The graph without its arrays, which are put into `arrays`."""
    constants = []
    for each in graph.constants:
        arrays[f"constant:{each.name}"] = each.data.astype(_narrowest(each.grid))
        constants.append({"name": each.name, "grid": _grid_out(each.name, each.grid, arrays)})
    return {
        "inputs": [
            {**_value_out(e.value, arrays), "rounding": e.rounding, "overflow": e.overflow}
            for e in graph.inputs
        ],
        "constants": constants,
        "ops": [
            {
                "kind": op.kind,
                "inputs": list(op.inputs),
                "attributes": dict(op.attributes),
                "origin": op.origin,
                **_value_out(op.output, arrays),
            }
            for op in graph.ops
        ],
        "outputs": list(graph.outputs),
        "metadata": dict(graph.metadata),
    }


def _value_out(value: Value, arrays: Arrays) -> Plain:
    grid = _grid_out(value.name, value.grid, arrays)
    return {"name": value.name, "shape": list(value.shape), "grid": grid}


def _grid_out(name: str, grid: Grid, arrays: Arrays) -> Plain:
    scale: float | None = None
    if isinstance(grid.scale, float):
        scale = grid.scale
    else:
        arrays[f"scale:{name}"] = np.ascontiguousarray(grid.scale)
    return {"lo": int(grid.lo), "hi": int(grid.hi), "zero": int(grid.zero), "scale": scale}


def _narrowest(grid: Grid) -> np.dtype[np.generic]:
    """The first type of the list that holds a grid."""
    for dtype in _TYPES:
        limits = np.iinfo(dtype)
        if limits.min <= grid.lo and grid.hi <= limits.max:
            return dtype
    raise GraphError(f"grid {grid.lo}..{grid.hi} is wider than int64")


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checksum(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return _digest(text.encode())


# -- in -----------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise GraphError(f"{path.name} has {size} bytes, expected at most {_LARGEST}")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or "not readable"
        raise GraphError(f"{path.name} cannot be read: {reason}; expected a saved graph") from None


def _parse(data: bytes) -> Plain:
    """The content of graph.json once format, version and checksum are right."""
    try:
        whole = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise GraphError(f"{_STRUCTURE} is damaged or cut off; save the graph again") from None
    if not isinstance(whole, dict) or whole.get("format") != _FORMAT:
        raise GraphError(f"{_STRUCTURE} is no graph of pareq")
    version = whole.get("version")
    if version != VERSION or isinstance(version, bool):
        raise GraphError(f"version is {version!r}, expected {VERSION}; save the graph again")
    content: Plain = {name: whole.get(name) for name in ("arrays", "graph")}
    if set(whole) != {"format", "version", "checksum", *content}:
        raise GraphError(f"{_STRUCTURE} has fields {sorted(whole)}, which are not those of a graph")
    if whole["checksum"] != _checksum(content):
        raise GraphError(f"{_STRUCTURE} is damaged: its checksum differs; save the graph again")
    return content


def _no_constant(text: str) -> float:
    raise ValueError(text)


def _get(holder: Mapping[str, object], name: str, kind: type[T]) -> T:
    """A field of the JSON of exactly that type."""
    value = holder.get(name)
    if type(value) is not kind:
        raise GraphError(f"field {name!r} is {type(value).__name__}, expected {kind.__name__}")
    return value


def _each(holder: Mapping[str, object], name: str, kind: type[T]) -> Iterator[T]:
    """The elements of a list of the JSON, each of exactly that type."""
    for value in _get(holder, name, list):
        if type(value) is not kind:
            raise GraphError(f"field {name!r} holds {type(value).__name__}, not {kind.__name__}")
        yield value


def _graph(structure: Plain, arrays: Arrays) -> Graph:
    inputs = [
        Input(
            _value_in(each, arrays),
            cast(Rounding, _get(each, "rounding", str)),
            cast(Overflow, _get(each, "overflow", str)),
        )
        for each in _each(structure, "inputs", dict)
    ]
    constants = [_constant_in(each, arrays) for each in _each(structure, "constants", dict)]
    ops = [_op_in(each, arrays) for each in _each(structure, "ops", dict)]
    metadata = _get(structure, "metadata", dict)
    if arrays:
        raise GraphError(f"{_ARRAYS} holds {sorted(arrays)[0]!r}, which the graph does not name")
    outputs = tuple(_each(structure, "outputs", str))
    return Graph(tuple(inputs), tuple(constants), tuple(ops), outputs, metadata)


def _op_in(each: Plain, arrays: Arrays) -> Op:
    given = _get(each, "attributes", dict)
    value = _value_in(each, arrays)
    with at(f"op {value.name!r}"):
        attributes = Attributes(cast(dict[str, Attribute], given))
    kind, origin = _get(each, "kind", str), _get(each, "origin", str)
    return Op(kind, tuple(_each(each, "inputs", str)), value, attributes, origin)


def _constant_in(each: Plain, arrays: Arrays) -> Constant:
    name = _get(each, "name", str)
    grid = _grid_in(name, _get(each, "grid", dict), arrays)
    data = arrays.pop(f"constant:{name}", None)
    if data is None or data.dtype != _narrowest(grid):
        found = "absent" if data is None else str(data.dtype)
        raise GraphError(f"constant {name!r} is {found}, expected {_narrowest(grid)}")
    return Constant(name, cast(npt.NDArray[np.int64], data), grid)


def _value_in(each: Plain, arrays: Arrays) -> Value:
    name = _get(each, "name", str)
    grid = _grid_in(name, _get(each, "grid", dict), arrays)
    return Value(name, tuple(_each(each, "shape", int)), grid)


def _grid_in(name: str, each: Plain, arrays: Arrays) -> Grid:
    scale: float | npt.NDArray[np.float64]
    if each.get("scale") is None:
        found = arrays.pop(f"scale:{name}", None)
        if found is None or found.dtype != np.float64 or not found.ndim:
            raise GraphError(f"the scale of {name!r} is absent or not float64")
        scale = cast(npt.NDArray[np.float64], found)
    else:
        scale = _get(each, "scale", float)
    lo, hi, zero = (_get(each, key, int) for key in ("lo", "hi", "zero"))
    with at(f"value {name!r}"):
        return Grid(lo, hi, scale, zero)
