"""The task "cifar10": ten classes of pictures of 32 x 32 (Krizhevsky 2009)."""

import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from pareq.errors import DataError, at
from pareq.registry import suggest
from pareq.tasks.base import Data, Split, Task, data_source
from pareq.tasks.download import cache_folder, fetch
from pareq.tasks.drawn import KINDS, emblems
from pareq.tasks.mobilenet import mobilenet_v2
from pareq.tasks.pictures import labelled, one_of
from pareq.tasks.resnet import resnet20

__all__ = ["Cifar10"]

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "md5:c32a1d4ab5d03f1284b67883e8d87530"
SIDE = 32
CENTER = (0.4914, 0.4822, 0.4465)
SCALE = (0.2023, 0.1994, 0.2010)
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
NETWORKS = ("resnet20", "mobilenet_v2")
NAMED = ("sample", "public")

Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (N, 32, 32, 3) and labels


@dataclass(frozen=True)
class Cifar10(Task, name="cifar10"):
    """CIFAR-10, or ten drawn kinds of pictures in its form.

    data: "sample" draws 1,600 pictures, "public" fetches the set, else a folder that holds it: the
    binary version, or cifar*/*train*.npz and *test*.npz (see `pictures.labelled`); "" means what
    PAREQ_DATA names, and the sample without it. network: "resnet20" (width: channels of its first
    stage) or "mobilenet_v2". rows: of the training set, 0 for all. val: the share of them that
    validates. augment: pad by 4, crop and flip while training. split_seed: of the choice of rows.

    Raises DataError for an option out of range.
    """

    data: str = ""
    network: str = "resnet20"
    width: int = 16
    rows: int = 0
    val: float = 0.1
    augment: bool = True
    split_seed: int = 0

    def __post_init__(self) -> None:
        with at("cifar10"):
            if self.network not in NETWORKS:
                raise DataError(
                    f"unknown network {self.network!r}{suggest(self.network, NETWORKS)}"
                )
            if self.width < 1:
                raise DataError(f"width must be at least 1, got {self.width}")
            if not 0 < self.val < 1:
                raise DataError(f"val must be a share inside (0, 1), got {self.val}")
            if self.rows < 0 or self.split_seed < 0:
                raise DataError("rows and split_seed must not be negative")

    @property
    def source(self) -> str:
        """The option `data`, or what stands for it when that is empty."""
        return data_source(self.data)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the ten labels."""
        return KINDS if self.source == "sample" else CLASSES

    @property
    def example(self) -> Tensor:
        """Two pictures with all levels of brightness, (2, 3, 32, 32)."""
        levels = torch.arange(2 * 3 * SIDE * SIDE).reshape(2, 3, SIDE, SIDE) % 256
        return _standard(levels.permute(0, 2, 3, 1).numpy().astype(np.uint8))

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        """The network with random weights by torch's defaults; both need batch normalisation."""
        if batch_norm is False:
            raise DataError(f"cifar10: {self.network} has no form without batch normalisation")
        if self.network == "mobilenet_v2":
            return mobilenet_v2(len(CLASSES))
        return resnet20(len(CLASSES), self.width)

    def load(self) -> Data:
        """The pictures, standardised by the mean and deviation of each colour, as float32."""
        with at("cifar10"):
            name, train, test = _read(self.source)
            order = np.random.default_rng(self.split_seed).permutation(len(train[1]))
            order = order[: self.rows or None]
            held = round(self.val * len(order))
            if not 0 < held < len(order):
                raise DataError(f"{len(order)} training rows cannot be split by val = {self.val}")
            return Data(
                train=_split(train, order[held:]),
                val=_split(train, order[:held]),
                test=_split(test, np.arange(len(test[1]))),
                name=name,
                center=CENTER,
                scale=SCALE,
            )

    def vary(self, x: Tensor) -> Tensor:
        """Each picture shifted by up to 4 pixels over grey, and half of them turned over."""
        if not self.augment:
            return x
        rows, size, device = len(x), x.shape[-1], x.device
        turned = torch.rand(rows, 1, 1, 1, device=device) < 0.5
        wide = pad(torch.where(turned, x.flip(3), x), (4, 4, 4, 4))
        place = torch.arange(size, device=device)
        down, right = torch.randint(0, 9, (2, rows, 1), device=device) + place
        number = torch.arange(rows, device=device)[:, None, None, None]
        colour = torch.arange(x.shape[1], device=device)[None, :, None, None]
        return wide[number, colour, down[:, None, :, None], right[:, None, None, :]]


def _standard(pictures: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) bytes -> (N, 3, H, W) float32."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
    center, scale = (torch.tensor(each).reshape(3, 1, 1) for each in (CENTER, SCALE))
    return x.sub_(center).div_(scale).contiguous()


def _split(part: Pictures, rows: NDArray[np.int64]) -> Split:
    return Split(_standard(part[0][rows]), torch.from_numpy(part[1][rows]))


def _read(source: str) -> tuple[str, Pictures, Pictures]:
    """Where from, the training and the test pictures."""
    if source == "sample":
        return "drawn emblems", emblems(1200, SIDE, 1), emblems(400, SIDE, 2)
    if source == "public":
        archive = fetch(URL, cache_folder() / "cifar-10-binary.tar.gz", checksum=MD5)
        with tarfile.open(archive) as tar:
            members = {Path(m.name).name: m for m in tar if m.name.endswith(".bin")}
            raw = {name: tar.extractfile(member) for name, member in members.items()}
            return _batches("CIFAR-10", {n: f.read() for n, f in raw.items() if f is not None})
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f"no folder {source!r}{suggest(source, NAMED)}")
    files = {p.name: p for p in sorted(folder.rglob("*_batch*.bin"))}
    if files:
        return _batches(folder.name, {name: p.read_bytes() for name, p in files.items()})
    found = [
        one_of(folder, (f"*{part}*.npz", f"cifar*/*{part}*.npz")) for part in ("train", "test")
    ]
    if found[0] is None or found[1] is None:
        raise DataError(
            f"folder {folder} holds no CIFAR-10: neither data_batch_*.bin nor cifar*/*train*.npz"
            ' and *test*.npz; name its folder, or use data = "public" or "sample"'
        )
    return found[0].parent.name, labelled(found[0]), labelled(found[1])


def _batches(name: str, files: dict[str, bytes]) -> tuple[str, Pictures, Pictures]:
    """The binary version: a label and 3,072 colour values a picture."""
    parts: dict[bool, list[NDArray[np.uint8]]] = {True: [], False: []}
    for file, content in sorted(files.items()):
        if len(content) % 3073:
            raise DataError(f"{file} has {len(content)} bytes, expected a multiple of 3073")
        parts[file.startswith("test")].append(np.frombuffer(content, np.uint8).reshape(-1, 3073))
    if not parts[True] or not parts[False]:
        raise DataError(f"found {', '.join(files) or 'nothing'}; expected data_ and test_batch.bin")
    train, test = (np.concatenate(parts[test]) for test in (False, True))
    return name, _pictures(train), _pictures(test)


def _pictures(rows: NDArray[np.uint8]) -> Pictures:
    x = rows[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(x), rows[:, 0].astype(np.int64)
