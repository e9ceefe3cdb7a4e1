"""Dense layers and convolutions as loops over packed weights.

The weights of one output are a list of (offset, weight) without the zeros, so that a sparse layer
costs what its non-zero weights cost; a dense layer with few zeros keeps its matrix. A convolution
reads its input from a frame with the padding around it.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from pareq.backends.c.elementwise import Emit
from pareq.backends.c.frame import frame
from pareq.backends.c.nest import index, loops
from pareq.backends.c.scene import Array, Scene
from pareq.backends.c.text import Text
from pareq.backends.c.types import INT32, CType, register
from pareq.ir.graph import Op
from pareq.ir.kernels import as_convolution

__all__ = ["WEIGHTED", "accumulator"]

Integers = npt.NDArray[np.int64]


def accumulator(weight: Integers, bias: Integers, top: int) -> CType:
    """A type that no partial sum leaves, in any order, for inputs up to `top` in magnitude."""
    norms = np.abs(weight).reshape(len(weight), -1).sum(axis=1).tolist()
    return register(max(n * top + abs(b) for n, b in zip(norms, bias.tolist(), strict=True)))


def _dense(scene: Scene, op: Op, text: Text) -> None:
    x, y = scene.operand(op.inputs[0]), scene.arrays[op.name]
    weight, bias = scene.data(op, 1), scene.data(op, 2)
    outputs, features = weight.shape
    kind = accumulator(weight, bias, scene.magnitude(op.inputs[0]))
    biases = scene.fixed(op.inputs[2], bias)
    with loops(text, y.shape[:-1], y.steps[:-1], x.steps[:-1], letters="rst") as (to, at):
        begin = "" if at == "0" else f"{at} + "
        with text.block(f"for (int o = 0; o < {outputs}; o++)"):
            text.line(f"{kind.name} sum = {biases.name}[o];")
            if 2 * np.count_nonzero(weight) >= weight.size:
                full = scene.fixed(op.inputs[1], weight)
                text.line(f"const {full.type.name} *w = {full.name} + o * {features};")
                loop, factor, place = f"for (int i = 0; i < {features}; i++)", "w[i]", "i"
            else:
                own = np.broadcast_to(np.arange(features), weight.shape)
                loop, where, packed = _packed(scene, op.inputs[1], weight, own)
                factor, place = f"{packed.name}[k]", f"{where.name}[k]"
            one = begin + index([(place, x.steps[-1])])
            text.line(f"{loop} sum += {_cast(kind)}{factor} * {x.name}[{one}];")
            put = index([(to, 1)] * (to != "0") + [("o", y.steps[-1])])
            text.line(f"{y.name}[{put}] = ({y.type.name})sum;")


def _conv(scene: Scene, op: Op, text: Text) -> None:
    weight, x = scene.data(op, 1), scene.operand(op.inputs[0])
    value = op.attributes.whole("fill")
    padded = frame(scene, op, text, (x, value), op.attributes.wholes("padding"))
    alone = weight.shape[1] == 1 and op.attributes.whole("groups") == len(weight)
    if alone and padded.channels_last and scene.arrays[op.name].channels_last:
        _depthwise(scene, op, text, padded)
    else:
        _correlate(scene, op, text, (padded, weight, op.attributes.wholes("stride")))


def _depthwise(scene: Scene, op: Op, text: Text, x: Array) -> None:
    """One kernel a channel, channels last: all channels side by side."""
    y, weight, bias = scene.arrays[op.name], scene.data(op, 1), scene.data(op, 2)
    channels, _, *kernel = weight.shape
    top = max(*map(abs, scene.limits(op.inputs[0])), abs(op.attributes.whole("fill")))
    kind = accumulator(weight, bias, top)
    biases = scene.fixed(op.inputs[2], bias)
    turned = np.ascontiguousarray(np.moveaxis(weight[:, 0], 0, -1))
    weights = scene.fixed(op.inputs[1], turned)
    far = [a * b for a, b in zip(op.attributes.wholes("stride"), x.steps[1:], strict=True)]
    reach = [a * b for a, b in zip(op.attributes.wholes("dilation"), x.steps[1:], strict=True)]
    each = f"for (int c = 0; c < {channels}; c++)"
    with loops(text, y.shape[1:], y.steps[1:], far) as (to, at):
        text.line(f"{kind.name} sum[{channels}];")
        text.line(f"{each} sum[c] = {biases.name}[c];")
        taps = Array("", weights.type, (*kernel, channels)).steps[:-1]
        with loops(text, kernel, taps, reach, letters="abde") as (tap, place):
            begin = index([(one, 1) for one in (at, place) if one != "0"])
            text.line(f"const {x.type.name} *v = {x.name} + {begin};")
            text.line(f"const {weights.type.name} *w = {weights.name} + {tap};")
            text.line(f"{each} sum[c] += {_cast(kind)}w[c] * v[c];")
        put = index([(to, 1)] * (to != "0") + [("c", 1)])
        text.line(f"{each} {y.name}[{put}] = ({y.type.name})sum[c];")


def _conv_transpose(scene: Scene, op: Op, text: Text) -> None:
    x, weight = scene.operand(op.inputs[0]), scene.data(op, 1)
    spread, value = op.attributes.wholes("stride"), op.attributes.whole("fill")
    zeros = np.zeros((1, *x.shape), dtype=np.int64)  # stands in for x: only shapes matter here
    attributes, (_, plain, _) = as_convolution(op.attributes, (zeros, weight[None], zeros))
    padded = frame(scene, op, text, (x, value), attributes.wholes("padding"), spread)
    _correlate(scene, op, text, (padded, plain[0], (1,) * len(spread)))


def _correlate(
    scene: Scene, op: Op, text: Text, what: tuple[Array, Integers, Sequence[int]]
) -> None:
    """Sum the weighted window at each position; what: the frame, the weights, the stride."""
    x, weight, stride = what
    y, own = scene.arrays[op.name], x.steps
    top = max(*map(abs, scene.limits(op.inputs[0])), abs(op.attributes.whole("fill")))
    kind = accumulator(weight, scene.data(op, 2), top)
    biases = scene.fixed(op.inputs[2], scene.data(op, 2))
    loop, where, packed = _packed(
        scene, op.inputs[1], weight.reshape(len(weight), -1), _offsets(op, weight, own)
    )
    width = y.shape[-1]
    far = [s * t for s, t in zip(stride[:-1], own[1:-1], strict=True)]
    each = f"for (int i = 0; i < {width}; i++)"
    with (
        text.block(f"for (int o = 0; o < {len(weight)}; o++)"),
        loops(text, y.shape[1:-1], y.steps[1:-1], far, letters="rst") as (to, at),
    ):
        text.line(f"{kind.name} sum[{width}];")
        text.line(f"{each} sum[i] = {biases.name}[o];")
        with text.block(loop):
            place = index([(at, 1)] * (at != "0") + [(f"{where.name}[k]", 1)])
            text.line(f"const {x.type.name} *v = {x.name} + {place};")
            text.line(f"const {kind.name} w = {packed.name}[k];")
            text.line(f"{each} sum[i] += w * v[{index([('i', stride[-1] * own[-1])])}];")
        begin = index([("o", y.steps[0])] + [(to, 1)] * (to != "0") + [("i", y.steps[-1])])
        text.line(f"{each} {y.name}[{begin}] = ({y.type.name})sum[i];")


def _packed(
    scene: Scene, name: str, weight: Integers, offsets: Integers
) -> tuple[str, Array, Array]:
    """The loop over the non-zero weights of output o, and arrays of their offsets and values."""
    keep = weight != 0
    begins = np.concatenate([[0], np.cumsum(keep.sum(axis=1))]).astype(np.int64)
    first = scene.fixed(f"{name}_first", begins)
    where = scene.fixed(f"{name}_at", offsets[keep].astype(np.int64))
    loop = f"for (int k = {first.name}[o]; k < {first.name}[o + 1]; k++)"
    return loop, where, scene.fixed(name, weight[keep])


def _offsets(op: Op, weight: Integers, own: Sequence[int]) -> Integers:
    """Where each weight meets the frame, seen from the corner of a window; `(out, in * kernel)`."""
    outputs, depth, *kernel = weight.shape
    dilation, groups = op.attributes.wholes("dilation"), op.attributes.whole("groups")
    taps = [
        sum(a * d * s for a, d, s in zip(at, dilation, own[1:], strict=True))
        for at in product(*(range(size) for size in kernel))
    ]
    inside = (np.arange(depth)[:, None] * own[0] + np.array(taps)).reshape(1, -1)
    first = np.arange(outputs) // (outputs // groups) * depth * own[0]
    return np.asarray(first[:, None] + inside)


def _cast(kind: CType) -> str:
    """Products of a narrow type are ints; where the sum is wider, so must they be."""
    return "" if kind == INT32 else f"({kind.name})"


WEIGHTED: dict[str, Emit] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
}
