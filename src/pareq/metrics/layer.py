"""One row per matrix multiplication or convolution: all that the cost formulas read."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, Self

from pareq.errors import DataError, at

__all__ = ["FLOAT_BITS", "Kind", "Layer"]

Kind = Literal["linear", "conv"]

FLOAT_BITS = 32

_UNKNOWN = ("effective", "products")
_TEXT = ("path", "kind", "shares")
_POSITIVE = ("inputs", "outputs", "groups", "weight_bits", "input_bits", "bias_bits")


@dataclass(frozen=True)
class Layer:
    """A linear map or a convolution in the order of execution, for one sample.

    path: module path. inputs: weights per output value, n; for a convolution n k^2 / groups.
    outputs: features or channels, m. positions: how often the whole weight tensor is applied per
    sample, 1 for a plain linear layer, height x width for a convolution; padded zeros count.
    groups: of a convolution, already in `inputs`.

    alive: weights that are not pruned (latent). nonzero: weights that are not zero once quantized.
    weight_bits, input_bits, bias_bits: widths, 32 where nothing is quantized. effective: sum over
    the weights of their effective bits (see `ebops`), None where the weights are not integers.

    reads: values of the input tensor per sample. dead: those of them that are the same for every
    sample because a mask prunes them. products: sum over all multiplications of a sample of the
    effective bits of the weight times the bits of that very input, None where these are not known
    one by one. shares: path of the earlier row that holds the same weights,
    empty when this row holds them; its own path for a module that runs again.

    Raises DataError for numbers that cannot be.
    """

    path: str
    kind: Kind
    inputs: int
    outputs: int
    alive: int
    nonzero: int
    weight_bits: int = FLOAT_BITS
    input_bits: int = FLOAT_BITS
    positions: int = 1
    groups: int = 1
    biases: int = 0
    biases_alive: int = 0
    bias_bits: int = FLOAT_BITS
    effective: int | None = None
    reads: int = 0
    shares: str = ""
    dead: int = 0
    products: int | None = None

    def __post_init__(self) -> None:
        with at(f"layer {self.path}"):
            self._check()

    @classmethod
    def dense(cls, path: str, inputs: int, outputs: int, *, bits: int = FLOAT_BITS) -> Self:
        """A linear layer with biases and no zeros, weights and input `bits` wide."""
        return cls(
            path=path,
            kind="linear",
            inputs=inputs,
            outputs=outputs,
            alive=inputs * outputs,
            nonzero=inputs * outputs,
            weight_bits=bits,
            input_bits=bits,
            biases=outputs,
            biases_alive=outputs,
            reads=inputs,
        )

    @property
    def weights(self) -> int:
        """All weights, pruned ones too."""
        return self.inputs * self.outputs

    @property
    def multiplies(self) -> int:
        """Multiplications per sample when nothing is pruned."""
        return self.weights * self.positions

    @property
    def live(self) -> float:
        """The share of the values it reads that are not pruned; 1 where no number is known."""
        return 1 - self.dead / self.reads if self.reads else 1.0

    @property
    def again(self) -> bool:
        """Whether this is a further run of the same module, with the same biases too."""
        return self.shares == self.path and bool(self.path)

    def as_dict(self) -> dict[str, str | int | None]:
        """The fields as what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """The inverse of `as_dict`; keys that are no field are left alone."""
        known = {f.name for f in fields(cls)}
        missing = sorted(known - set(data) - {"dead", "products"})  # older files have none
        if missing:
            raise DataError(f"a layer lacks {', '.join(missing)}; expected what as_dict gave")
        return cls(**{k: v for k, v in data.items() if k in known})  # type: ignore[arg-type]

    def _check(self) -> None:
        if self.kind not in ("linear", "conv"):
            raise DataError(f"kind must be linear or conv, got {self.kind}")
        whole = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _TEXT}
        for name, value in whole.items():
            if not isinstance(value, int) and not (name in _UNKNOWN and value is None):
                raise DataError(f"{name} must be a whole number, got {value!r}")
        for name, value in whole.items():
            least = 1 if name in _POSITIVE else 0
            if value is not None and value < least:
                raise DataError(f"{name} must be {least} or more, got {value}")
        for name, most in (
            ("alive", "weights"),
            ("nonzero", "weights"),
            ("biases_alive", "biases"),
            ("dead", "reads"),
        ):
            if getattr(self, name) > getattr(self, most):
                raise DataError(f"{getattr(self, name)} {name} of {getattr(self, most)} {most}")
