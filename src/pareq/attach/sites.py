"""The tensors of a model that a rule can name.

| kind | is | a glob path without a type matches |
|---|---|---|
| weight | a floating parameter, not a bias | those with two axes or more: layers, not norms |
| bias | a parameter with "bias" in its name | those of modules that also have such a weight |
| output | what a module returns | activation functions (ReLU, GELU, ...) |
| input | what a module is called with | modules with such a weight |

An exact path, or a type, matches any. A Sequential's input is its first module's input, its output
its last module's output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from pareq.errors import SiteError, at
from pareq.operators.base import Quantizer
from pareq.pruners import Prune, PruneActivation
from pareq.recipe.recipe import KINDS, Recipe, Rule, Where

__all__ = ["Place", "channel_axis", "choose", "match", "places"]

_ACTIVATIONS = tuple(
    getattr(nn.modules.activation, name)
    for name in nn.modules.activation.__all__
    if name
    not in ("MultiheadAttention", "Softmax", "LogSoftmax", "Softmin", "Softmax2d", "Threshold")
)
_HOLDERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


_UNCALLED = NonDynamicallyQuantizableLinear  # MultiheadAttention.out_proj


@dataclass(frozen=True, eq=False)
class Place:
    """A tensor that a rule may name, before any operator is there.

    paths: every path of the module (a module used twice has two). tensor: the parameter's name,
    "input" or "output". plain: whether a glob without a type matches it.
    """

    paths: tuple[str, ...]
    module: nn.Module
    tensor: str
    kind: str
    plain: bool

    @property
    def name(self) -> str:
        """Such as "block1.conv:weight"."""
        return f"{self.paths[0]}:{self.tensor}"

    @property
    def parameter(self) -> nn.Parameter | None:
        """The parameter of a weight or bias."""
        return self.module._parameters.get(self.tensor)

    def fits(self, where: Where) -> bool:
        """Whether a pattern names this place."""
        if where.tensor != self.kind and not fnmatchcase(self.tensor, where.tensor):
            return False
        names = [cls.__name__ for cls in type(self.module).__mro__]
        if where.types and not any(fnmatchcase(n, t) for t in where.types for n in names):
            return False
        if not any(fnmatchcase(path, where.path) for path in self.paths):
            return False
        return self.plain or bool(where.types) or where.path in self.paths


def places(model: nn.Module) -> list[Place]:
    """Every place of a model, in the order of its modules."""
    paths: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
        modules[id(module)] = module
    found = []
    for key, module in modules.items():
        if not isinstance(module, _HOLDERS):
            found += _places_of(module, tuple(paths[key]))
    return found


def _places_of(module: nn.Module, paths: tuple[str, ...]) -> list[Place]:
    found = []
    layer = any(p is not None and p.ndim >= 2 for p in module._parameters.values())
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter.is_floating_point():
            kind = "bias" if "bias" in name else "weight"
            plain = layer if kind == "bias" else parameter.ndim >= 2
            found.append(Place(paths, module, name, kind, plain))
    found.append(
        Place(paths, module, "input", "input", layer and not isinstance(module, _UNCALLED))
    )
    found.append(Place(paths, module, "output", "output", isinstance(module, _ACTIVATIONS)))
    return found


def match(rule: Rule, candidates: Sequence[Place]) -> list[Place]:
    """The places a rule means; raises SiteError when there is none, with the nearest name."""
    where, left_out = Where.parse(rule.where), [Where.parse(e) for e in rule.exclude]
    wanted = [p for p in candidates if p.fits(where)]
    for text, pattern in zip(rule.exclude, left_out, strict=True):
        if wanted and not any(p.fits(pattern) for p in candidates):
            raise SiteError(f"exclude {text!r} matches nothing{_nearest(pattern, candidates)}")
    found = [p for p in wanted if not any(p.fits(e) for e in left_out)]
    if wanted and not found:
        raise SiteError(
            f"{rule.where!r} matches {len(wanted)} sites, and exclude leaves out all of them"
        )
    if not found:
        raise SiteError(f"{rule.where!r} matches nothing in the model{_nearest(where, candidates)}")
    return found


def _nearest(where: Where, candidates: Sequence[Place]) -> str:
    """What could have been meant."""
    tensors = {p.tensor for p in candidates} | set(KINDS)
    if not any(fnmatchcase(t, where.tensor) for t in tensors):
        close = get_close_matches(where.tensor, sorted(tensors), 1, 0.5)
        return (
            f"; did you mean the tensor {close[0]!r}?"
            if close
            else f"; tensors: {', '.join(sorted(tensors))}"
        )
    if where.types:
        known = {type(p.module).__name__ for p in candidates}
        if not any(fnmatchcase(k, t) for k in known for t in where.types):
            close = get_close_matches(where.types[0], sorted(known), 1, 0.4)
            return (
                f"; did you mean the type {close[0]!r}?"
                if close
                else f"; types: {', '.join(sorted(known))}"
            )
    names = [p.name for p in candidates if p.plain or p.kind == where.tensor]
    close = get_close_matches(f"{where.path}:{where.tensor}", names, 1, 0.0)
    return f"; the nearest site is {close[0]!r}" if close else ""


def choose(model: nn.Module, recipe: Recipe) -> list[tuple[Place, list[int]]]:
    """The places that rules mean, each with the indices of its rules, in the order of the model."""
    candidates = places(model)
    rules_of: dict[Place, list[int]] = {}
    for number, rule in enumerate(recipe.rules):
        with at(f"rule {number + 1}"):
            found = {_redirect(p, candidates): None for p in match(rule, candidates)}
            _check_tied(list(found), candidates)
        for place in found:
            rules_of.setdefault(place, []).append(number)
    for place, numbers in rules_of.items():
        _check_once(place, numbers, recipe.rules)
        _check_reachable(place)
    return [(p, rules_of[p]) for p in candidates if p in rules_of]


def _redirect(place: Place, candidates: Sequence[Place]) -> Place:
    """A Sequential's edges belong to its first and last module."""
    if place.kind not in ("input", "output"):
        return place
    module = _first_of(place.module) if place.kind == "input" else _last_of(place.module)
    return next(p for p in candidates if p.module is module and p.tensor == place.tensor)


def _check_tied(found: Sequence[Place], candidates: Sequence[Place]) -> None:
    for place in found:
        if place.parameter is None:
            continue
        others = [p for p in candidates if p.parameter is place.parameter and p not in found]
        if others:
            raise SiteError(
                f"{place.name} and {others[0].name} are one tied tensor, but the rule covers only "
                "the first; widen its pattern, or exclude both"
            )


def _check_once(place: Place, numbers: Sequence[int], rules: Sequence[Rule]) -> None:
    kinds = (("quantized", Quantizer), ("pruned", Prune), ("pruned", PruneActivation))
    for verb, wanted in kinds:
        twice = [n for n in numbers if isinstance(rules[n].op, wanted)]
        if len(twice) > 1:
            by = " and ".join(f"rule {n + 1} ({rules[n].where})" for n in twice)
            raise SiteError(f"{place.name} would be {verb} twice, by {by}; exclude it from one")
    wrong, remedy = (
        (
            Prune,
            "is an activation, prune works on weights and biases; name those, such as"
            " '*:weight', or use prune_activation",
        )
        if place.parameter is None
        else (
            PruneActivation,
            "is a parameter, prune_activation works on what modules return;"
            " name those, such as '*:output', or use prune",
        )
    )
    pruning = [n for n in numbers if isinstance(rules[n].op, wrong)]
    if pruning:
        raise SiteError(f"rule {pruning[0] + 1}: {place.name} {remedy}")


def _check_reachable(place: Place) -> None:
    if place.kind in ("input", "output") and isinstance(place.module, _UNCALLED):
        raise SiteError(
            f"{place.name}: MultiheadAttention reads the weights of this layer and never calls it; "
            f"name the attention's own {place.kind}, or exclude this one"
        )


def _first_of(module: nn.Module) -> nn.Module:
    """The module that sees a Sequential's input."""
    while type(module) is nn.Sequential and len(module):
        module = module[0]
    return module


def _last_of(module: nn.Module) -> nn.Module:
    """The module that makes a Sequential's output."""
    while type(module) is nn.Sequential and len(module):
        module = module[-1]
    return module


def channel_axis(module: nn.Module, tensor: Tensor | None, kind: str) -> int:
    """The axis of channels: of a weight the outputs, of an activation axis 1 (images) or last."""
    if kind in ("weight", "bias"):
        transposed = isinstance(
            module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
        )
        return 1 if transposed and kind == "weight" else 0
    return 1 if tensor is not None and tensor.ndim > 3 else -1
