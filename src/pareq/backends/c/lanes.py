"""Straight-line code for small sparse chains: many samples side by side, one in each lane.

Neurons are computed in groups of four, whose results become one quad: four bytes a lane. A product
of a quad with four weights costs one instruction, so the inputs of each layer are grouped such that
few quads meet a non-zero weight, and quads of weights that are all zero do not occur in the code.
"""

from dataclasses import dataclass, field

import numpy as np

from pareq.backends.c.chain import Chain, Layer
from pareq.backends.c.grouping import grouped
from pareq.backends.c.interface import Interface
from pareq.backends.c.lanes_prelude import prelude
from pareq.backends.c.narrow import Rescale
from pareq.backends.c.scene import Integers
from pareq.backends.c.text import Text, array

__all__ = ["lanes"]

_LETTERS = "pqrs"
_ROW = 16  # inputs of a sample that are one vector register of 128 bits
_WORDS = 8  # results of 16 bits in one


def lanes(chain: Chain, name: str, ports: Interface) -> Text:
    """Definitions of NAME_lanes(x, y), which computes NAME_LANES samples, where it exists.

    It exists with AVX-512 VNNI and with the vectors of gcc and clang, unless NAME_PLAIN is defined.
    """
    codes = _codes(chain)
    text = Text()
    text.line()
    text.add(prelude(name, chain))
    for code in codes:
        function = code.function(name)
        text.line(f"#ifdef {name.upper()}_WORDS")
        words = np.array(code.words, dtype=np.int64)
        text.add(array("int32_t", f"{name}_words{code.number}", words))
        text.line("#endif")
        text.lines += function.lines
    _whole(text, name, codes, ports)
    text.line(f"#endif /* {name.upper()}_LANES */")
    return text


def _codes(chain: Chain) -> list["_Code"]:
    """Group the neurons of each layer for the one that reads them."""
    layers = chain.layers
    features = layers[0].weight.shape[1]
    inputs = list(range(features)) + [-1] * (-features % 4)
    if features == _ROW:  # its bytes can be put into any order on their way in
        inputs = [each for group in grouped(layers[0].weight != 0, 4) for each in group]
    codes = []
    for k, layer in enumerate(layers):
        outputs = len(layer.weight)
        groups = [list(range(i, min(i + 4, outputs))) for i in range(0, outputs, 4)]
        if k + 1 < len(layers):
            groups = grouped(layers[k + 1].weight != 0, 4)
        codes.append(_Code(k, layer, inputs, groups))
        inputs = [each for group in groups for each in (*group, -1, -1, -1)[:4]]
    return codes


@dataclass(eq=False)
class _Code:
    """One layer in the order of its groups.

    inputs: which feature is where in the quads, -1 for none. groups: the neurons of each quad that
    the layer makes. words: the constants in the order of their use, collected by `function`.
    """

    number: int
    layer: Layer
    inputs: list[int]
    groups: list[list[int]]
    words: list[int] = field(default_factory=list)

    @property
    def weight(self) -> Integers:
        """The weights as `(out, quad, 4)`."""
        wide = np.pad(self.layer.weight, ((0, 0), (0, 1)))  # the last column is for -1
        return np.asarray(wide[:, self.inputs].reshape(len(wide), -1, 4))

    def function(self, name: str) -> Text:
        """The function NAME_layerK."""
        text, weight, layer = Text(), self.weight, self.layer
        results = f"{name}_sum *y" if layer.form is None else f"{name}_quads *y"
        count = np.count_nonzero(weight)
        text.comment(f"{layer.name}: {weight.shape[0]} neurons, {count} weights")
        head = f"static void {name}_layer{self.number}(const {name}_quads *x, {results})"
        with text.block(head):
            text.line(f"LAYER({self.number})")
            for row, group in enumerate(self.groups):
                text.comment(f"neurons {', '.join(map(str, group))}")
                with text.block():
                    self._products(text, weight[group], layer.bias[group])
                    self._end(text, row, group)
        text.line()
        return text

    def _products(self, text: Text, weight: Integers, bias: Integers) -> None:
        """The sums of one group; weight: `(neuron, quad, 4)`."""
        text.line("GROUP")
        sums = zip(_LETTERS, bias.tolist(), strict=False)
        text.line(" ".join(f"SUM({each}, {self._word(b)}, {b})" for each, b in sums))
        for quad in range(weight.shape[1]):
            used = np.flatnonzero(weight[:, quad].any(axis=1)).tolist()
            if used:
                text.line(f"QUAD({quad})")
            for i in used:
                four = weight[i, quad]
                place = self._word(_four(four))
                text.line(f"DOT({_LETTERS[i]}, {quad}, {place}, {', '.join(map(str, four))})")

    def _end(self, text: Text, row: int, group: list[int]) -> None:
        """Store a group: as sums, or as the quad of bytes that the next layer reads."""
        form = self.layer.form
        full = (group * 4)[:4]
        letters = ", ".join((_LETTERS[: len(group)] * 4)[:4])
        if form is None:
            for letter, each in zip(_LETTERS, group, strict=False):
                text.line(f"KEEP({letter}, {each})")
        elif isinstance(form, Rescale):
            for letter, each in zip(_LETTERS, group, strict=False):
                text.line(self._rescaled(form, letter, each))
            text.line(f"BYTES({row}, {letters}, {form.top})")
        elif form.factor is not None:
            place = self._scales([int(form.factor[each]) for each in full])
            factors = ", ".join(str(form.factor[each]) for each in full)
            text.line(f"SCALED({row}, {letters}, {form.shift}, {form.top}, {place}, {factors})")
        else:
            kind = "EVEN" if form.even else "PLAIN"
            text.line(f"{kind}({row}, {letters}, {form.shift}, {form.top})")

    def _rescaled(self, form: Rescale, letter: str, neuron: int) -> str:
        """The line that turns one sum into a result in 32 bits, less the smallest result."""
        m, b, shift = (int(a[neuron]) for a in (form.multiplier, form.offset, form.shift))
        lo = form.lo
        if not form.even:  # the smallest result goes into the offset, where it costs nothing
            b, lo = b - (lo << shift), 0
        small = form.low[neuron] >= -(2**15) and form.high[neuron] < 2**15
        halves = -(-m // (2**15 - 1)) if small else 3
        place = self._word(b)
        if halves <= 2:
            self._word(m - m // 2 if halves == 2 else m)
            self.words += [m // 2] * (halves == 2)
        else:
            self._word(m)
        how = f"{max(min(halves, 3), 1)}, {int(form.even)}, {place}"
        return f"WIDE({letter}, {how}, {shift}, {m}, {b}, {lo}, {form.top})"

    def _word(self, value: int) -> int:
        """Put one word into the table and return its place."""
        self.words.append(value)
        return len(self.words) - 1

    def _scales(self, factors: list[int]) -> int:
        """Put factors as the 16-bit lanes of packed sums meet them: four times each."""
        place = len(self.words)
        for each in factors:
            self.words += [each * 65537] * 2
        return place


def _four(four: Integers) -> int:
    """Four signed bytes as one little-endian integer of 32 bits."""
    return int(np.asarray(four, dtype=np.int8).view("<i4")[0])


def _whole(text: Text, name: str, codes: list[_Code], ports: Interface) -> None:
    """The function that runs all layers on one block of samples."""
    features, outputs = ports.inputs[0].size, ports.outputs[0].size
    lanes, end, layer = f"{name.upper()}_LANES", len(codes), codes[-1].layer
    given, made = ports.inputs[0], ports.outputs[0]
    with text.block(f"static void {name}_enter(const {given.type.name} *x, {name}_quads *y)"):
        order = ", ".join(map(str, codes[0].inputs))
        text.line(f"ENTER16({order})" if features == _ROW else f"ENTER({features})")
    text.line()
    with text.block(f"static void {name}_lanes({ports.arguments})"):
        sizes = [len(codes[0].inputs) // 4] + [len(code.groups) for code in codes]
        for k, size in enumerate(sizes[:end]):
            text.line(f"{name}_quads h{k}[{size}];")
        result, lane = f"{name}_quads h{end}[{sizes[-1]}]", f"BYTE(h{end}, i, lane) + {layer.low}"
        if layer.form is None:
            result = f"{name}_sum h{end}[{outputs} * {lanes}]"
            lane = f"h{end}[i * {lanes} + lane]"
        text.line(f"{result};")
        text.line(f"{name}_enter({given.name}, h0);")
        for k in range(end):
            text.line(f"{name}_layer{k}(h{k}, h{k + 1});")
        rows = str(_ROW) if features == _ROW else ""
        if layer.form is None and made.type.bits == 16 and outputs <= _WORDS:
            text.line(f"LEAVE(h{end}, {made.name}, {outputs}, FOURS{rows})")
            return
        with text.block(f"for (int lane = 0; lane < {lanes}; lane++)"):
            to = f"{made.name}[PLACE{rows}(lane) * {outputs} + i]"
            loop = f"for (int i = 0; i < {outputs}; i++)"
            text.line(f"{loop} {to} = ({made.type.name})({lane});")
