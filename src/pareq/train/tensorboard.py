"""The epochs of a run as TensorBoard curves (extra `tensorboard`)."""

from dataclasses import fields
from pathlib import Path

from pareq.errors import MissingExtra
from pareq.train.journal import Epoch

__all__ = ["TensorBoard"]

_AXES = ("epoch", "step", "settled")


class TensorBoard:
    """A callback for `train(on_epoch=...)` that writes the figures of each epoch to a folder.

    The horizontal axis is the step. Where a resumed run begins again, what an earlier sitting wrote
    from that step on is hidden.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "tensorboard") from None
        self._make = SummaryWriter
        self._folder = str(folder)
        self._writer: SummaryWriter | None = None

    def __call__(self, epoch: Epoch) -> None:
        """Write one epoch."""
        if self._writer is None:
            self._writer = self._make(self._folder, purge_step=epoch.step)
        for figure in fields(Epoch):
            if figure.name not in _AXES:
                self._writer.add_scalar(figure.name, getattr(epoch, figure.name), epoch.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file; a later epoch opens another."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
