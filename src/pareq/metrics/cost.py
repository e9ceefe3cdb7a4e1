"""What a network costs: the rows of its layers, and every figure that follows from them.

Cost.rows      one Layer per linear map or convolution, in the order of execution
Cost.rest      what else holds numbers or multiplies; it costs no BOPs here, and says so
Cost.totals()  name -> figure, see `Cost.totals`
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from pareq.errors import DataError, at
from pareq.metrics.bops import BOPS, bops, bops_per_layer, ebops, ebops_per_layer
from pareq.metrics.layer import FLOAT_BITS, Layer
from pareq.metrics.memory import (
    ENCODINGS,
    activation_bits,
    bias_bits,
    compression,
    largest_activation_bits,
    weight_bits,
)

__all__ = ["Cost", "Rest"]


@dataclass(frozen=True)
class Rest:
    """Something whose operations no Layer counts.

    path: module path. kind: the class of the module, or the name of the function it calls.
    values: the 32-bit parameters and running statistics it holds, 0 for a function. norm: a
    normalisation, whose statistics fold into the layer before it.
    """

    path: str
    kind: str
    values: int = 0
    norm: bool = False


@dataclass(frozen=True)
class Cost:
    """The cost of one network for one sample."""

    rows: tuple[Layer, ...]
    rest: tuple[Rest, ...] = ()

    def totals(self) -> dict[str, float]:
        """All figures of the whole network by name; pruned activations count as pruned.

        weights, alive, nonzero, biases: counts; a shared weight once. sparsity: 1 - alive/weights;
        zeros: 1 - nonzero/weights; 0 without weights. multiplies: per sample, pruned ones too.
        bops_VARIANT, ebops, ebops_per_layer_bits: bit operations per sample. bits_ENCODING: of the
        weights. bits_biases, bits_norms (32 a value), bits_rest, bits_activations,
        bits_largest_activation: bits. compression_ENCODING: against 32-bit dense.
        """
        held = [row for row in self.rows if not row.shares]
        weights = sum(row.weights for row in held)
        alive = sum(row.alive for row in held)
        nonzero = sum(row.nonzero for row in held)
        figures: dict[str, float] = {
            "weights": weights,
            "alive": alive,
            "nonzero": nonzero,
            "biases": sum(row.biases for row in self.rows if not row.again),
            "sparsity": 1 - alive / weights if weights else 0.0,
            "zeros": 1 - nonzero / weights if weights else 0.0,
            "multiplies": sum(row.multiplies for row in self.rows),
        }
        figures |= {f"bops_{variant}": bops(self.rows, variant) for variant in BOPS}
        figures["ebops"] = ebops(self.rows)
        figures["ebops_per_layer_bits"] = ebops(self.rows, per_weight=False)
        figures |= {f"bits_{name}": weight_bits(self.rows, name) for name in ENCODINGS}
        figures["bits_biases"] = bias_bits(self.rows)
        figures["bits_norms"] = FLOAT_BITS * sum(r.values for r in self.rest if r.norm)
        figures["bits_rest"] = FLOAT_BITS * sum(r.values for r in self.rest if not r.norm)
        figures["bits_activations"] = activation_bits(self.rows)
        figures["bits_largest_activation"] = largest_activation_bits(self.rows)
        return figures | {f"compression_{name}": compression(self.rows, name) for name in ENCODINGS}

    def layers(self) -> list[dict[str, str | int | float | None]]:
        """One table per row: its fields, and `weights`, `bops_VARIANT`, `ebops`, `bits_ENCODING`.

        `bits_ENCODING` of shared weights are those of the row that holds them.
        """
        variants = {name: bops_per_layer(self.rows, name) for name in BOPS}
        effective = ebops_per_layer(self.rows)
        return [
            row.as_dict()
            | {"weights": row.weights, "ebops": effective[i]}
            | {f"bops_{name}": figures[i] for name, figures in variants.items()}
            | {f"bits_{name}": ENCODINGS[name](row) for name in ENCODINGS}
            for i, row in enumerate(self.rows)
        ]

    def __str__(self) -> str:
        """A line a layer and their sum; BOPs: bops_paper, bytes: of the weights with a bitmap."""
        head = ("layer", "weights", "not zero", "bits", "BOPs", "EBOPs", "bytes")
        table: list[tuple[str, ...]] = [head]
        for row, entry in zip(self.rows, self.layers(), strict=True):
            bits = f"{row.weight_bits} x {row.input_bits}"
            table.append((row.path, *_counts(entry, "weights", "nonzero"), bits, *_counts(entry)))
        totals = self.totals()
        table.append(("all", *_counts(totals, "weights", "nonzero"), "", *_counts(totals)))
        wide = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(wide[0]), *map(str.rjust, row[1:], wide[1:])]) for row in table
        )

    def as_dict(self) -> dict[str, object]:
        """The totals, and below them `layers` and `rest`, as what JSON can hold."""
        return {
            **self.totals(),
            "layers": self.layers(),
            "rest": [asdict(entry) for entry in self.rest],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The inverse of `as_dict`, also after JSON; the totals are computed anew.

        Raises DataError when `layers` or `rest` is missing or is not what `as_dict` gives.
        """
        with at("cost"):
            rows = tuple(Layer.from_dict(entry) for entry in _tables(data, "layers"))
            rest = []
            for entry in _tables(data, "rest"):
                if set(entry) != {"path", "kind", "values", "norm"}:
                    raise DataError(f"rest has the keys {', '.join(sorted(entry))}")
                rest.append(Rest(**entry))  # type: ignore[arg-type]
            return cls(rows, tuple(rest))


def _counts(figures: Mapping[str, object], *names: str) -> Iterator[str]:
    """Figures by name, else operations and bytes, as whole numbers."""
    for name in names or ("bops_paper", "ebops", "bits_bitmap"):
        value = figures[name]
        if isinstance(value, int | float):
            yield f"{value / 8 if name == 'bits_bitmap' else value:,.0f}"


def _tables(data: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    found = data.get(key)
    if not isinstance(found, Sequence) or not all(isinstance(e, Mapping) for e in found):
        raise DataError(f"{key} must be a list of tables; expected what as_dict gave")
    return list(found)
