"""Dense layers and convolutions as MatMulInteger and ConvInteger, which multiply 8 bits.

Wider integers are sums of bytes: x = sum_i x_i 256^i and w = sum_j w_j 256^j, so w x is the sum of
256^(i+j) w_j x_i. Weights beyond -64..64 are written as unsigned bytes with zero point 128, for
some processors saturate a sum of two products of 8 bits, signed and unsigned, to 16 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pareq.backends.onnx import window
from pareq.backends.onnx.sheet import Array
from pareq.backends.onnx.sheet import Attributes as Given
from pareq.backends.onnx.whole import DType, Scene, Whole, fitting
from pareq.errors import BackendError
from pareq.ir.attributes import Attributes
from pareq.ir.graph import Op
from pareq.ir.kernels import as_convolution

__all__ = ["conv", "conv_transpose", "dense"]

Integers = npt.NDArray[np.int64]
Product = Callable[[tuple[str | Array, ...]], str]  # the node for (x, weight, zero points)

_SMALL = 64  # the weights for which two products with a byte fit in 16 bits


def dense(scene: Scene, op: Op) -> Whole:
    """Product of the last axis with a matrix, plus a bias."""
    weight, bias = scene.constant(op.inputs[1]), scene.constant(op.inputs[2])
    x = _bytes(scene, scene.whole(op.inputs[0]), scene.limits(op.inputs[0]))

    def product(inputs: tuple[str | Array, ...]) -> str:
        return scene.sheet.add("MatMulInteger", *inputs)

    parts = [(digits.T, zero) for digits, zero in _digits(weight)]
    whole = bias + x.low * weight.sum(axis=1)
    return _sum(scene, op, (product, x, x.low), parts, whole)


def conv(scene: Scene, op: Op) -> Whole:
    """Cross-correlation, plus a bias."""
    weight, bias = scene.constant(op.inputs[1]), scene.constant(op.inputs[2])
    x = scene.whole(op.inputs[0])
    return _conv(scene, op, (op.attributes, x, weight, bias))


def conv_transpose(scene: Scene, op: Op) -> Whole:
    """The convolution, with a flipped kernel, of the input with `fill` between its samples."""
    channels, *sizes = scene.shape(op.inputs[0])
    weight, bias = scene.constant(op.inputs[1]), scene.constant(op.inputs[2])
    nothing = np.zeros((0, channels, *sizes), dtype=np.int64)
    attributes, found = as_convolution(op.attributes, (nothing, weight[None], bias[None]))
    stride, fill = op.attributes.wholes("stride"), op.attributes.whole("fill")
    dtype = fitting(fill, *scene.limits(op.inputs[0]))
    x, add = scene.read(op.inputs[0], dtype), scene.sheet.add
    if any(step > 1 for step in stride):
        apart = [n for size in sizes for n in (size, 1)]
        x = add("Reshape", x, np.array([0, channels, *apart], dtype=np.int64))
        around = [n for step in stride for n in (0, step - 1)]
        zeros = [0] * len(around)
        x = window.pad(scene.sheet, x, [0, 0, *zeros, 0, 0, *around], np.array(fill, dtype=dtype))
        spread = [size * step for size, step in zip(sizes, stride, strict=True)]
        x = add("Reshape", x, np.array([0, channels, *spread], dtype=np.int64))
    padding, half = list(attributes.wholes("padding")), len(stride)
    tails = [step - 1 for step in stride]  # behind the last sample nothing belongs
    padding[half:] = [end - tail for end, tail in zip(padding[half:], tails, strict=True)]
    cropped = [min(each, 0) for each in padding]
    around = [0, 0, *cropped[:half], 0, 0, *cropped[half:]]
    x = window.pad(scene.sheet, x, around, np.array(fill, dtype=dtype))
    plain = Attributes({**attributes, "padding": tuple(max(each, 0) for each in padding)})
    return _conv(scene, op, (plain, Whole(x, dtype), found[1][0], bias))


def _conv(scene: Scene, op: Op, what: tuple[Attributes, Whole, Integers, Integers]) -> Whole:
    attributes, x, weight, bias = what
    low, high = scene.limits(op.inputs[0])
    padded = any(attributes.wholes("padding")) or op.kind == "conv_transpose"
    fill = attributes.whole("fill") if padded else low
    parts = _bytes(scene, x, (min(low, fill), max(high, fill)))
    fill = fill if padded else parts.low
    how: Given = {
        "kernel_shape": weight.shape[2:],
        "strides": attributes.wholes("stride"),
        "pads": attributes.wholes("padding"),
        "dilations": attributes.wholes("dilation"),
        "group": attributes.whole("groups"),
    }

    def product(inputs: tuple[str | Array, ...]) -> str:
        return scene.sheet.add("ConvInteger", *inputs, attributes=how)

    whole = bias + fill * weight.sum(axis=tuple(range(1, weight.ndim)))
    shape = (-1, *(1,) * (weight.ndim - 2))
    return _sum(scene, op, (product, parts, fill), _digits(weight), whole.reshape(shape))


@dataclass(frozen=True)
class _Bytes:
    """x = low + sum_i parts[i] 256^i; each part a tensor of 8 bits."""

    parts: tuple[str, ...]
    dtype: DType
    low: int

    def digits(self, n: int) -> list[Array]:
        """The parts of one integer."""
        if len(self.parts) == 1:
            return [np.array(n - self.low, dtype=self.dtype)]
        places = range(len(self.parts))
        return [np.array((n - self.low) >> 8 * i & 255, dtype=self.dtype) for i in places]


def _bytes(scene: Scene, x: Whole, limits: tuple[int, int]) -> _Bytes:
    low, high = limits
    for name, least in (("uint8", 0), ("int8", -128)):
        if least <= low and high < least + 256:
            return _Bytes((scene.cast(x, name),), np.dtype(name), 0)
    dtype, byte = fitting(low, high, -low, high - low), np.dtype(np.uint8)
    above = Whole(scene.cast(x, dtype), dtype)
    if low:
        above = Whole(scene.sheet.add("Sub", above.name, np.array(low, dtype=dtype)), dtype)
    count = -(-(high - low).bit_length() // 8)
    if count == 1:
        return _Bytes((scene.cast(above, byte),), byte, low)
    bits, parts = np.dtype(f"u{dtype.name}"), []
    whole, how = scene.cast(above, bits), {"direction": "RIGHT"}
    for i in range(count):
        by = np.array(8 * i, dtype=bits)
        part = scene.sheet.add("BitShift", whole, by, attributes=how) if i else whole
        part = scene.sheet.add("BitwiseAnd", part, np.array(255, dtype=bits))
        parts.append(scene.cast(Whole(part, bits), byte))
    return _Bytes(tuple(parts), byte, low)


def _digits(weight: Integers) -> list[tuple[Integers, int]]:
    """Weights as sums of bytes: for each power of 256 the digits and their zero point."""
    found: list[tuple[Integers, int]] = []
    rest = weight
    while not found or rest.any():
        digits = (rest + 128) % 256 - 128
        rest = (rest - digits) >> 8
        found.append((digits, 0 if np.abs(digits).max(initial=0) <= _SMALL else 128))
    return found


def _sum(
    scene: Scene,
    op: Op,
    factors: tuple[Product, _Bytes, int],
    weights: list[tuple[Integers, int]],
    bias: Integers,
) -> Whole:
    """sum_ij 256^(i+j) product(x_i - fill_i, w_j) + bias."""
    product, x, fill = factors
    axes = (0,) if op.kind == "dense" else tuple(range(1, weights[0][0].ndim))
    bounds = [255 * int(np.abs(digits).sum(axis=axes).max()) for digits, _ in weights]
    if max(bounds) >= 2**31:
        raise BackendError("sums of bytes exceed 32 bits; split the layer, or use the C back end")
    places = range(len(x.parts))
    size = sum(bound << 8 * (i + j) for i in places for j, bound in enumerate(bounds))
    size += int(np.abs(bias).max(initial=0))
    dtype, add = fitting(-size, size), scene.sheet.add
    total = ""
    for i, (part, point) in enumerate(zip(x.parts, x.digits(fill), strict=True)):
        for j, (digits, zero) in enumerate(weights):
            kind = np.dtype(np.uint8 if zero else np.int8)
            points = (point, np.array(zero, dtype=kind)) if zero or point.any() else ()
            term = product((part, (digits + zero).astype(kind), *points))
            term = scene.cast(Whole(term, np.dtype(np.int32)), dtype)
            if i + j:
                term = add("Mul", term, np.array(1 << 8 * (i + j), dtype=dtype))
            total = add("Add", total, term) if total else term
    if bias.any():
        total = add("Add", total, bias[None].astype(dtype))
    return scene.made(op, total, dtype)
