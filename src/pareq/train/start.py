"""What a training begins with when it is one of a chain: the masks and weights of an earlier one.

| rewind | weights that the pruned network is trained from | known as |
|---|---|---|
| None | those of the earlier run's best epoch | fine-tuning |
| 0 | those drawn before any training | lottery ticket (Frankle & Carbin 2019) |
| n | those after n steps of the first run | late rewinding (Frankle et al. 2020) |

What falls is decided by the earlier run's best epoch in all three. What a pruner of weights or of
activations holds stays: its mask, and what it has seen. Everything else goes back with the weights:
biases, norms, learned scales, and the scales that a quantizer found, which it then finds anew when
its schedule lets it in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from pareq.attach.attach import Attached
from pareq.errors import RunError, at
from pareq.operators.base import Operator
from pareq.train import checkpoint
from pareq.train.state import load_model
from pareq.train.store import kept_path

__all__ = ["Start"]


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    after: folder of a run of the same network and rules; its best network is pruned further, to
    what the recipe's schedules want at step 0. rewind: see the table above; first: folder of the
    run that kept its network after `rewind` steps (see `Keep.step`).
    """

    after: str
    rewind: int | None = None
    first: str = ""

    def __post_init__(self) -> None:
        if self.rewind is not None and self.rewind < 0:
            raise RunError(f"start.rewind must be 0 steps or more, got {self.rewind}")
        if self.rewind and not self.first:
            raise RunError("start.first is missing: the run that kept the weights to rewind to")

    def apply(self, net: Attached) -> None:
        """Put masks and weights into `net`, which is as it was drawn, on the same data as before.

        Raises RunError or CheckpointError when a folder lacks what is needed.
        """
        with at("start"):
            drawn = {name: t.clone() for name, t in net.model.state_dict().items()}
            best = checkpoint.read(Path(self.after) / "checkpoints" / "best.safetensors")
            _, steps_per_epoch = cast("tuple[int, int]", best.facts["run"])
            net.plan(net.recipe.training.epochs * steps_per_epoch, steps_per_epoch)
            load_model(net.model, best)
            net.set_step(0)
            if self.rewind is None:
                return
            masks = _masks(net)
            if self.rewind == 0:
                net.model.load_state_dict(drawn)
            else:
                kept = kept_path(Path(self.first) / "checkpoints", self.rewind)
                load_model(net.model, checkpoint.read(kept))
            net.model.load_state_dict(net.model.state_dict() | masks)


def _masks(net: Attached) -> dict[str, Tensor]:
    """What operators with a mask hold, by its name in the model."""
    pruners = {
        path
        for path, module in net.model.named_modules()
        if isinstance(module, Operator) and "mask" in dict(module.named_buffers(recurse=False))
    }
    state = net.model.state_dict()
    return {
        name: tensor.clone() for name, tensor in state.items() if name.rpartition(".")[0] in pruners
    }
