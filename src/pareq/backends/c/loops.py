"""The body of a model as loops over arrays, op by op: the shape for large networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pareq.backends.c.elementwise import ELEMENTWISE
from pareq.backends.c.movement import MOVEMENT, copy
from pareq.backends.c.nest import last as channels_last
from pareq.backends.c.products import fits, follower, products
from pareq.backends.c.reduce import REDUCE
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.text import Text
from pareq.backends.c.types import INT32, CType
from pareq.backends.c.weighted import WEIGHTED
from pareq.errors import BackendError, at
from pareq.ir.graph import Graph, Op
from pareq.registry import suggest

__all__ = ["EMITTERS", "body"]

EMITTERS = {**ELEMENTWISE, **MOVEMENT, **REDUCE, **WEIGHTED}


def body(scene: Scene, results: Sequence[Array]) -> Text:
    """The statements that turn the input arrays of one sample, which `scene` holds, into outputs.

    results: the arrays to fill, one for each output of the graph. Raises BackendError for a kind of
    op that has no C.
    """
    outputs = dict(zip(scene.graph.outputs, results, strict=True))
    pool, text = _Pool(), Text(1)
    layouts = _layouts(scene)
    owners = _owners(scene.graph, layouts)
    last = _last(scene.graph, owners)
    taken: dict[str, int] = {}
    for k, op in enumerate(scene.graph.ops):
        if op.name in scene.arrays:  # came with the op before it
            continue
        if owners[op.name] != op.name:  # a reshape: the same array under another shape
            old = scene.arrays[op.inputs[0]]
            scene.arrays[op.name] = Array(old.name, old.type, op.output.shape)
            continue
        behind = follower(scene, op) if fits(scene, op) else None
        name = behind.name if behind else op.name
        made = Array("", scene.type_of(name), op.output.shape, layouts[name])
        if name in outputs and not layouts[name]:
            made = outputs[name]
        else:
            taken[name] = pool.take(made.type, made.size)
            made = replace(made, name=pool.name(taken[name]))
        scene.arrays[name] = made
        with at(f"op {op.name!r}"):
            _emit(scene, op, text, behind)
        for each in [each for each in taken if last[each] <= k]:
            pool.give(taken.pop(each))
    whole = Text(1)
    for array in pool.arrays():
        scene.local(whole, array)
    whole.lines += text.lines
    _finish(scene, results, whole)
    return whole


def _emit(scene: Scene, op: Op, text: Text, behind: Op | None) -> None:
    if op.kind not in EMITTERS:
        raise BackendError(f"{op.kind} has no C{suggest(op.kind, EMITTERS)}")
    text.line()
    text.comment(_about(scene, op))
    if behind:
        text.comment(_about(scene, behind))
    with text.block():
        if fits(scene, op):
            products(scene, op, text)
        else:
            EMITTERS[op.kind](scene, op, text)


def _about(scene: Scene, op: Op) -> str:
    grid = op.output.grid
    origin = f"{op.origin}: " if op.origin and op.origin != op.name else ""
    lo, hi = scene.limits(op.name)
    scale = f"step {grid.scale:.9g}" if isinstance(grid.scale, float) else "a step each channel"
    return f"{origin}{op.name} = {op.kind}, {lo}..{hi}, {scale}, zero {grid.zero}"


def _finish(scene: Scene, results: Sequence[Array], text: Text) -> None:
    """Copy the outputs that no op has written in place: inputs, reshapes, channels last, twins."""
    for name, y in zip(scene.graph.outputs, results, strict=True):
        x = scene.operand(name)
        if x.name != y.name:
            text.line()
            text.comment(f"output {name}")
            copy(text, y.shape, (y, y.steps, 0), (x, x.steps, 0))


def _layouts(scene: Scene) -> dict[str, tuple[int, ...]]:
    """The steps of each value that lies channels last; () for C order.

    Convolutions in quads begin it, and every op that keeps places keeps it.
    """
    found: dict[str, tuple[int, ...]] = {}
    for op in scene.graph.ops:
        shape, moves = op.output.shape, op.kind in ("reshape", "permute", "dense")
        inherits = any(found.get(name) for name in op.inputs) and not moves
        begins = op.kind == "conv" and fits(scene, op)
        turned = len(shape) > 1 and (begins or inherits)
        found[op.name] = channels_last(shape, shape[0]) if turned else ()
    return found


def _owners(graph: Graph, layouts: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """The value in whose array each value lies."""
    owners = {each.name: each.name for each in graph.inputs}
    for op in graph.ops:
        x = op.inputs[0]
        shares = op.kind == "reshape" and graph.constant(x) is None
        steps = layouts.get(x, ())
        straight = Array("", INT32, graph.value(x).shape, steps).ordered
        owners[op.name] = owners[x] if shares and straight else op.name
    return owners


def _last(graph: Graph, owners: Mapping[str, str]) -> dict[str, int]:
    """The number of the last op that needs the array of a value."""
    last = {op.name: k for k, op in enumerate(graph.ops)}
    for k, op in enumerate(graph.ops):
        last |= {owners[name]: k for name in op.inputs if name in owners}
    last |= {owners[name]: len(graph.ops) for name in graph.outputs if name in owners}
    return last


@dataclass
class _Pool:
    """Arrays that values share one after the other: by type, since C forbids other sharing."""

    kinds: list[CType] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    free: set[int] = field(default_factory=set)

    def take(self, kind: CType, size: int) -> int:
        """The number of an array that now holds `size`: the best free one of that type."""
        fits = [k for k in self.free if self.kinds[k] == kind]
        if not fits:
            self.kinds.append(kind)
            self.sizes.append(size)
            return len(self.sizes) - 1
        best = min(fits, key=lambda k: (max(size - self.sizes[k], 0), self.sizes[k]))
        self.free.remove(best)
        self.sizes[best] = max(self.sizes[best], size)
        return best

    def give(self, number: int) -> None:
        """The array may hold another value."""
        self.free.add(number)

    def name(self, number: int) -> str:
        """The C name of an array."""
        return f"{self.kinds[number].name.removesuffix('_t')}_{number}"

    def arrays(self) -> list[Array]:
        """All arrays, in the size that the largest value needs."""
        sizes = enumerate(zip(self.kinds, self.sizes, strict=True))
        return [Array(self.name(k), kind, (size,)) for k, (kind, size) in sizes]
