"""One sample through a network, whatever its batch normalisation needs."""

from collections.abc import Callable, Mapping, Sequence

from torch.nn.functional import batch_norm
from torch.overrides import TorchFunctionMode

__all__ = ["SingleSample"]


class SingleSample(TorchFunctionMode):
    """Passes by batch normalisation without running statistics, which refuses a single sample.

    For counting alone: shapes are kept, values are not those of the network.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """What torch calls instead of `func`."""
        del types
        if func is batch_norm and args[1] is None:
            return args[0]
        return func(*args, **(kwargs or {}))
