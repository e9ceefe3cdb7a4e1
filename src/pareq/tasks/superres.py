"""The task "superres": pictures three times as wide, by ESPCN (Shi et al. 2016)."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from pareq.errors import DataError, at
from pareq.registry import suggest
from pareq.tasks.base import Data, Judged, Picture, Split, Task, data_source, outputs
from pareq.tasks.download import cache_folder, fetch
from pareq.tasks.drawn import scenes
from pareq.tasks.espcn import Espcn
from pareq.tasks.pictures import SUFFIXES, decode, grey, one_of, pictures_of
from pareq.tasks.tiles import Tiles, patches, tiles

__all__ = ["SuperResolution", "luminance"]

URL = "https://github.com/tegg89/SRCNN-Tensorflow/archive/refs/heads/master.zip"
NAMED = ("sample", "public")
TESTS = ("set5", "set14")
SIZE, STRIDE, REACH = 17, 13, 4  # of a patch as published; of ESPCN's three kernels
SHOWN = 32  # pixels of a picture at low resolution

Pictures = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class SuperResolution(Task, name="superres"):
    """From a picture's luminance at a third of its size to the whole; peak signal-to-noise in dB.

    data: "sample" draws a few pictures, "public" fetches T91, Set5 and Set14, else a folder that
    holds t91, set5 and set14, each as an npz or a folder of pictures; "" means what PAREQ_DATA
    names, and the sample without it. test: "set5" or "set14". scale: how much wider. widths: the
    channels of the two hidden layers. val: the share of the training pictures that validates.
    stride: of the training patches of 17 x 17, in low resolution.

    Raises DataError for an option out of range.
    """

    judged: ClassVar[Judged] = Judged("psnr", "PSNR", "dB", 1.0)

    data: str = ""
    test: str = "set5"
    scale: int = 3
    widths: tuple[int, ...] = (64, 32)
    val: float = 0.1
    stride: int = STRIDE
    split_seed: int = 0

    def __post_init__(self) -> None:
        with at("superres"):
            if self.test not in TESTS:
                raise DataError(f"unknown test {self.test!r}{suggest(self.test, TESTS)}")
            if not 2 <= self.scale <= 4:
                raise DataError(f"scale must be 2, 3 or 4, got {self.scale}")
            if len(self.widths) != 2 or min(self.widths) < 1:
                raise DataError(f"widths must be 2 positive numbers, got {self.widths}")
            if not 0 < self.val < 1:
                raise DataError(f"val must be a share inside (0, 1), got {self.val}")
            if self.stride < 1 or self.split_seed < 0:
                found = f"got {self.stride}, {self.split_seed}"
                raise DataError(f"stride must be positive, split_seed not negative, {found}")

    @property
    def source(self) -> str:
        """The option `data`, or what stands for it when that is empty."""
        return data_source(self.data)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: a picture has no label."""
        return ()

    @property
    def example(self) -> Tensor:
        """Two patches of all levels of luminance, (2, 1, 17, 17)."""
        return (torch.arange(2 * SIZE * SIZE) % 256 / 255).reshape(2, 1, SIZE, SIZE)

    def model(self, batch_norm: bool | None = None) -> nn.Module:
        """ESPCN; it has no batch normalisation."""
        if batch_norm:
            raise DataError("superres: ESPCN has no form with batch normalisation")
        return Espcn(self.scale, (self.widths[0], self.widths[1]))

    def load(self) -> Data:
        """Patches to train on, patches of other pictures to validate, test pictures in tiles."""
        with at("superres"):
            name, train, test = _read(self.source, self.test)
            order = np.random.default_rng(self.split_seed).permutation(len(train))
            held = max(round(self.val * len(train)), 1)
            if held >= len(train):
                raise DataError(f"{len(train)} training pictures cannot be split")
            return Data(
                train=patches([self._pair(train[i]) for i in order[held:]], SIZE, self.stride),
                val=patches([self._pair(train[i]) for i in order[:held]], SIZE, self.stride),
                test=tiles([self._pair(picture) for picture in test], SIZE, REACH),
                name=name,
            )

    def loss(self, output: Tensor, y: Tensor) -> Tensor:
        """Mean square error."""
        return mse_loss(output, y)

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """The sum of the peak signal-to-noise ratios of the patches, in dB."""
        return _decibel((output.clamp(0, 1) - y).square().mean((1, 2, 3))).sum()

    def score_text(self, score: float) -> str:
        """The peak signal-to-noise ratio with its unit."""
        return f"{score:.2f} dB"

    def evaluate(self, model: nn.Module, split: Split) -> dict[str, object]:
        """Loss and psnr in dB, the mean over the pictures of a test split, else over the rows.

        As published: of the luminance, all pixels, output clamped to 0..1.
        """
        with at(f"{self.name}: evaluate"):
            if len(split) == 0:
                raise DataError("the split is empty")
            made = outputs(model, split.x).cpu()
            loss = float(self.loss(made, split.y.cpu()))
            if not isinstance(split, Tiles):
                return {"loss": loss, "psnr": float(self.score(made, split.y.cpu())) / len(split)}
            errors, pixels = split.square_errors(made.clamp(0, 1))
            each = _decibel(errors / pixels)
            return {"loss": loss, "psnr": float(each.mean()), "psnr_pictures": each.tolist()}

    def pictures(self, model: nn.Module, split: Split) -> tuple[Picture, ...]:
        """The middle of the first two pictures of a test split; the score is that of the part."""
        if not isinstance(split, Tiles):
            return ()
        count = min(2, int(split.picture.max()) + 1)
        chosen = split.picture < count
        made = torch.zeros(split.y.shape)
        made[chosen] = outputs(model, split.x[chosen]).cpu().float().clamp(0, 1)
        found = []
        for number in range(count):
            wholes = [split.whole(part, number) for part in (split.x, made, split.y)]
            low, high, truth = (
                _middle(whole, SHOWN * times)
                for whole, times in zip(wholes, (1, self.scale, self.scale), strict=True)
            )
            score = float(_decibel((high - truth).square().mean()))
            found.append(Picture(grey(low), grey(high), grey(truth), self.score_text(score)))
        return tuple(found)

    def _pair(self, picture: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """The luminance at low and at full resolution, whole multiples of 1/255."""
        height, width = (n - n % self.scale for n in picture.shape[:2])
        high = luminance(picture[:height, :width])
        size = (height // self.scale, width // self.scale)
        low = interpolate(high[None, None], size, mode="bicubic", antialias=True)[0, 0]
        return low.clamp(0, 1).mul(255).round().div(255), high


def luminance(picture: NDArray[np.uint8]) -> Tensor:
    """Y of ITU-R BT.601, 16/255..235/255, rounded to 1/255: (H, W, 3) bytes -> (H, W) float32."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    y = torch.from_numpy(picture.astype(np.float64)) @ weights + 16
    return (y.round() / 255).float()


def _middle(whole: Tensor, side: int) -> Tensor:
    """A square in the middle, or all of a smaller picture."""
    top, left = (max(n - side, 0) // 2 for n in whole.shape)
    return whole[top : top + side, left : left + side]


def _decibel(error: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of a mean square error; at most 100 dB."""
    return -10 * torch.log10(error.clamp(min=1e-10))


def _read(source: str, test: str) -> tuple[str, Pictures, Pictures]:
    """Where from, the training and the test pictures."""
    if source == "sample":
        return "drawn scenes", scenes(20, 132, 1), scenes(3, 96, 2)
    if source == "public":
        archive = fetch(URL, cache_folder() / "super-resolution.zip")
        return "T91, " + test, _zipped(archive, "Train/"), _zipped(archive, f"Test/{test}/")
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(f"no folder {source!r}{suggest(source, NAMED)}")
    found = [
        one_of(folder, (f"[{n[0]}{n[0].upper()}]{n[1:]}*", f"*/[{n[0]}{n[0].upper()}]{n[1:]}*"))
        for n in ("t91", test)
    ]
    if found[0] is None or found[1] is None:
        raise DataError(
            f'folder {folder} holds no t91 and {test}; name their folder, or use data = "public"'
            ' or "sample"'
        )
    return f"{found[0].stem}, {found[1].stem}", pictures_of(found[0]), pictures_of(found[1])


def _zipped(archive: Path, part: str) -> Pictures:
    """The pictures of one folder of an archive."""
    try:
        with zipfile.ZipFile(archive) as file:
            names = [n for n in sorted(file.namelist()) if part.lower() in n.lower()]
            names = [n for n in names if Path(n).suffix.lower() in SUFFIXES]
            found = [decode(io.BytesIO(file.read(name))) for name in names]
    except zipfile.BadZipFile:
        raise DataError(f"{archive} is no zip archive; remove it and repeat the call") from None
    if not found:
        raise DataError(f"{archive} holds no pictures in {part}")
    return found
