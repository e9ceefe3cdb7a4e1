"""Straight-line code for small sparse chains: many samples side by side, one in each lane.

Neurons are computed in groups of four, whose results become one quad: four bytes a lane. A product
of a quad with four weights costs one instruction, so the inputs of each layer are grouped such that
few quads meet a non-zero weight, and quads of weights that are all zero do not occur in the code.

With AVX-512 the numbers come from a table and are those of a `plan.Plan`; elsewhere they are those
in the text, which are the layer's own.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from pareq.backends.c.chain import Chain, Layer
from pareq.backends.c.grouping import grouped
from pareq.backends.c.interface import Interface
from pareq.backends.c.lanes_prelude import prelude
from pareq.backends.c.narrow import Narrow, Rescale
from pareq.backends.c.plan import Plan, plans
from pareq.backends.c.ratio import HIGH, Ratio
from pareq.backends.c.scene import Integers
from pareq.backends.c.text import Text, array
from pareq.backends.c.wide import Wide, wide

__all__ = ["lanes", "leave"]

_LETTERS = "pqrs"
_ROW = 16  # inputs of a sample that are one vector register of 128 bits
_WORDS = 8  # results of 16 bits in one
_SIGN = 2**15


def lanes(chain: Chain, name: str, ports: Interface) -> Text:
    """Definitions of NAME_lanes(x, y), which computes NAME_LANES samples, where it exists.

    It exists with AVX-512 VNNI and with the vectors of gcc and clang, unless NAME_PLAIN is defined.
    """
    codes = _codes(chain)
    text = Text()
    text.line()
    text.add(prelude(name, chain, codes[0].plan.enter))
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
    for k, (layer, plan) in enumerate(zip(layers, plans(chain), strict=True)):
        outputs = len(layer.weight)
        groups = [list(range(i, min(i + 4, outputs))) for i in range(0, outputs, 4)]
        if k + 1 < len(layers):
            groups = _together(layers[k + 1].weight != 0, plan)
        ratios = list(plan.ratios)
        for group in groups:  # a group ends in one way
            if None in [ratios[neuron] for neuron in group]:
                for neuron in group:
                    ratios[neuron] = None
        codes.append(_Code(k, layer, replace(plan, ratios=tuple(ratios)), inputs, groups))
        inputs = [each for group in groups for each in (*group, -1, -1, -1)[:4]]
    return codes


def _together(used: npt.NDArray[np.bool_], plan: Plan) -> list[list[int]]:
    """Groups of neurons for the layer that uses them; those with a ratio are kept apart."""
    found = []
    for wanted in (True, False):
        some = [k for k, each in enumerate(plan.ratios) if (each is not None) is wanted]
        found += [[some[k] for k in group] for group in grouped(used[:, some], 4)]
    return found


@dataclass(eq=False)
class _Code:
    """One layer in the order of its groups.

    inputs: which feature is where in the quads, -1 for none. groups: the neurons of each quad that
    the layer makes. words: the constants in the order of their use, collected by `function`.
    """

    number: int
    layer: Layer
    plan: Plan
    inputs: list[int]
    groups: list[list[int]]
    words: list[int] = field(default_factory=list)

    def _quads(self, weight: Integers) -> Integers:
        """Weights as `(out, quad, 4)`."""
        wide = np.pad(weight, ((0, 0), (0, 1)))  # the last column is for -1
        return np.asarray(wide[:, self.inputs].reshape(len(wide), -1, 4))

    @property
    def _scaled(self) -> tuple[Integers, Integers]:
        """Weights `(out, in)` and biases with the scales and offsets of the plan."""
        layer, weight, bias = self.layer, self.layer.weight.copy(), self.layer.bias.copy()
        for k, each in enumerate(self.plan.ratios):
            if each is not None:
                weight[k] *= each.scale >> self.plan.enter
                bias[k] = layer.sum_bias[k] * each.scale + each.offset
        return weight, bias

    def function(self, name: str) -> Text:
        """The function NAME_layerK."""
        text, layer = Text(), self.layer
        own, scaled = self._quads(layer.weight), self._scaled
        in_table = self._quads(scaled[0])
        results = f"{name}_sum *y" if layer.form is None else f"{name}_quads *y"
        count = np.count_nonzero(own)
        results_in = f", results {layer.op.lo}..{layer.op.hi}" if layer.op else ""
        text.comment(f"{layer.name}: {own.shape[0]} neurons, {count} weights{results_in}")
        head = f"static void {name}_layer{self.number}(const {name}_quads *x, {results})"
        with text.block(head):
            text.line(f"LAYER({self.number})")
            for row, group in enumerate(self.groups):
                text.comment(f"neurons {', '.join(map(str, group))}")
                with text.block():
                    text.line("GROUP")
                    pairs = zip(scaled[1][group].tolist(), layer.bias[group].tolist(), strict=True)
                    sums = zip(_LETTERS, pairs, strict=False)
                    text.line(" ".join(f"SUM({s}, {self._word(b)}, {n})" for s, (b, n) in sums))
                    self._products(text, own[group], in_table[group])
                    self._end(text, row, group)
        text.line()
        return text

    def _products(self, text: Text, weight: Integers, in_table: Integers) -> None:
        """Add up the products of one group; weights `(neuron, quad, 4)`."""
        for quad in range(weight.shape[1]):
            used = np.flatnonzero(weight[:, quad].any(axis=1)).tolist()
            if used:
                text.line(f"QUAD({quad})")
            for i in used:
                place = self._word(_four(in_table[i, quad]))
                four = ", ".join(map(str, weight[i, quad]))
                text.line(f"DOT({_LETTERS[i]}, {quad}, {place}, {four})")

    def _end(self, text: Text, row: int, group: list[int]) -> None:
        """Store a group: as sums, or as the quad of bytes that the next layer reads."""
        form, letters = self.layer.form, ", ".join((_LETTERS[: len(group)] * 4)[:4])
        ratios = [each for each in (self.plan.ratios[k] for k in group) if each is not None]
        begin = len(self.words)
        own = self._own(row, group, letters)
        if form and len(ratios) == len(group):
            del self.words[begin:]  # which only own forms with AVX-512 would use
            text.line(f"VNNI({self._ratio(row, letters, ratios, form.top)})")
            own = [f"GNU({line})" for line in own]
        text.add(own)

    def _ratio(self, row: int, letters: str, ratios: list[Ratio], top: int) -> str:
        """The line for a group of which each neuron has a ratio."""
        end = _end(top, self.plan.leave)
        four = (ratios * 4)[:4]
        if not any(each.factor for each in four):
            return f"UPPER({row}, {letters}, {end})"
        place = self._scales([each.factor for each in four])
        if all(each.shift == HIGH for each in four):
            return f"UPPERS({row}, {letters}, {place}, {end})"
        self._scales([each.shift for each in four])
        return f"RATIOS({row}, {letters}, {place}, {end})"

    def _own(self, row: int, group: list[int], letters: str) -> list[str]:
        """The lines for a group in the layer's own form."""
        form = self.layer.form
        if isinstance(form, Narrow):
            return [self._narrow(form, row, group, letters)]
        lines = []
        for letter, each in zip(_LETTERS, group, strict=False):
            lines += self._rescaled(form, letter, each) if form else [f"KEEP({letter}, {each})"]
        if form:
            ends = {_end(form.top, 0): "GNU", _end(form.top, self.plan.leave): "VNNI"}
            lines += _either(
                {kind: f"BYTES({row}, {letters}, {end})" for end, kind in ends.items()}
            )
        return lines

    def _narrow(self, form: Narrow, row: int, group: list[int], letters: str) -> str:
        """The line for a group in 16 bits."""
        what = f"{row}, {letters}, {form.shift}, {_end(form.top, 0)}"
        if form.factor is None:
            return f"{'EVEN' if form.even else 'PLAIN'}({what})"
        factors = [int(form.factor[each]) for each in (group * 4)[:4]]
        return f"SCALED({what}, {self._scales(factors)}, {', '.join(map(str, factors))})"

    def _rescaled(self, form: Rescale, letter: str, neuron: int) -> list[str]:
        """The lines that turn one sum into a result in 32 bits, less the smallest result."""
        parts, lo = wide(form, neuron) or Wide(0, 0, 0), form.lo if form.even else 0
        reach = max(-int(form.low[neuron]), int(form.high[neuron]))
        lines = []
        if parts.cut:
            how = 1 if reach < _SIGN else 3
            place = self._word(parts.below)
            self._word(parts.low)
            numbers = f"{parts.cut}, {parts.low}, {parts.below}"
            lines = [f"BELOW({letter}, {how}, {place}, {numbers})"]
        m, b = parts.multiplier, parts.offset
        halves = max(-(-m // (_SIGN - 1)), 1) if reach < _SIGN else 3
        place = self._word(b)
        if halves <= 2:
            self._word(m - m // 2 if halves == 2 else m)
            self.words += [m // 2] * (halves == 2)
        else:
            self._word(m)
        rest = "REST" if parts.cut else "NONE"
        what = f"{letter}, {min(halves, 3)}, {int(form.even)}, {place}, {rest}"
        shifts = {parts.shift: "GNU", parts.shift - self.plan.leave: "VNNI"}
        numbers = f"{m}, {b}, {lo}, {form.top}"
        return lines + _either(
            {kind: f"WIDE({what}, {cut}, {numbers})" for cut, kind in shifts.items()}
        )

    def _word(self, value: int) -> int:
        """Put one word into the table and return its place."""
        self.words.append(value)
        return len(self.words) - 1

    def _scales(self, factors: list[int]) -> int:
        """Put factors as the 16-bit lanes of packed sums meet them: four times each."""
        place = len(self.words)
        for each in factors:
            self.words += [(each * 65537 + 2**31) % 2**32 - 2**31] * 2
        return place


def _either(lines: dict[str, str]) -> list[str]:
    """Lines that are meant for one machine each, or a single one for both."""
    alone = len(lines) == 1
    return [line if alone else f"{kind}({line})" for kind, line in lines.items()]


def _end(top: int, leave: int) -> int:
    """How bytes end, as macros take it: the largest one, or minus the bits that are cleared."""
    return -leave if leave else top


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
    bits = 8 if layer.form else 16
    short = outputs <= _WORDS and made.type.bits == bits
    if short:
        table = np.array(leave(outputs, words=not layer.form, moved=features == _ROW))
        kind = "uint8_t" if layer.form else "int16_t"
        text.line(f"#ifdef {name.upper()}_LEAVE{bits}")
        text.add([*array(kind, f"{name}_leave", table), "#endif"])
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
        if short:
            low = f" {layer.low}," if layer.form else ""
            text.line(f"LEAVE{bits}(h{end}, {made.name}, {outputs},{low} FOURS{rows})")
            return
        with text.block(f"for (int lane = 0; lane < {lanes}; lane++)"):
            to = f"{made.name}[PLACE{rows}(lane) * {outputs} + i]"
            loop = f"for (int i = 0; i < {outputs}; i++)"
            text.line(f"{loop} {to} = ({made.type.name})({lane});")


def leave(outputs: int, *, words: bool, moved: bool) -> list[int]:
    """Where each result of sixteen samples is in their lanes: the table of LEAVE and LEAVE8.

    words: results are 16 bits, two in a lane of each vector, and those of the second pair of
    vectors are below 0; else bytes, four in a lane. moved: lanes hold the samples in the order of
    ENTER16.
    """
    each, size = (2, 32) if words else (4, 64)
    found = []
    for sample in range(16):
        lane = sample % 4 * 4 + sample // 4 if moved else sample
        for k in range(outputs):
            vector, place = divmod(k, each)
            found.append(vector % 2 * size + lane * each + place - (vector // 2 << 15))
    return found + [0] * (-len(found) % size)
