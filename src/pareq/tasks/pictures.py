"""Pictures from files: npz archives and the formats that Pillow reads."""

import io
import zipfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pareq.errors import DataError, MissingExtra

__all__ = ["SUFFIXES", "arrays", "decode", "grey", "labelled", "one_of", "pictures_of"]

Bytes = NDArray[np.uint8]

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")


def decode(file: IO[bytes] | Path) -> Bytes:
    """One picture as (H, W, 3); raises DataError when Pillow cannot read it, and MissingExtra."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingExtra("pillow", "tasks") from None
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise DataError(f"{file} is no picture that can be read ({error})") from None


def pictures_of(path: Path) -> list[Bytes]:
    """All pictures of a folder of files, of one npz of uint8 arrays (H, W, 3), or of one file.

    In the order of their names. Raises DataError for none, or for arrays of another form.
    """
    if path.is_dir():
        names = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        found = [decode(name) for name in names]
    elif path.suffix == ".npz":
        with _opened(path) as archive:
            found = [_checked(path, key, archive[key]) for key in sorted(archive)]
    else:
        found = [decode(path)]
    if not found:
        raise DataError(f"{path} holds no picture ({', '.join(SUFFIXES)})")
    return found


def labelled(path: Path) -> tuple[Bytes, NDArray[np.int64]]:
    """Pictures of one size (N, H, W, 3) with labels, from an npz.

    Arrays `x` and `y`, or `data` (bytes of encoded pictures, one behind the other), `offsets`
    (N + 1 places in it) and `labels`. Raises DataError for another content, and MissingExtra.
    """
    with _opened(path) as archive:
        names = set(archive)
        if {"x", "y"} <= names:
            x, y = archive["x"], archive["y"]
        elif {"data", "offsets", "labels"} <= names:
            data, ends, y = archive["data"].tobytes(), archive["offsets"], archive["labels"]
            x = np.stack([decode(io.BytesIO(data[a:b])) for a, b in pairwise(ends)])
        else:
            raise DataError(
                f"{path.name} holds {', '.join(sorted(names))}; expected x and y, or data, offsets"
                " and labels"
            )
    if x.ndim != 4 or x.shape[-1] != 3 or x.dtype != np.uint8 or len(x) != len(y):
        raise DataError(
            f"{path.name}: pictures {x.dtype} {x.shape} with {len(y)} labels, expected uint8"
            " (N, H, W, 3) and N labels"
        )
    return x, y.astype(np.int64)


def arrays(path: Path, names: Iterable[str]) -> dict[str, NDArray[np.generic]]:
    """Arrays of an npz by name; raises DataError when one is missing or the file is damaged."""
    with _opened(path) as archive:
        missing = [name for name in names if name not in archive]
        if missing:
            raise DataError(
                f"{path.name} holds {', '.join(sorted(archive))}, expected {', '.join(names)}"
            )
        return {name: archive[name] for name in names}


def _opened(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        archive: np.lib.npyio.NpzFile = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error})") from None
    return archive


def _checked(path: Path, key: str, array: NDArray[np.generic]) -> Bytes:
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise DataError(
            f"{path.name}: array {key!r} is {array.dtype} {array.shape}, expected uint8 (H, W, 3)"
        )
    return array.astype(np.uint8)


def one_of(folder: Path, patterns: Iterable[str]) -> Path | None:
    """The first file or folder below `folder` that a pattern names."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    return None


def grey(values: Tensor) -> Bytes:
    """Numbers 0..1 as bytes, of the same shape."""
    return np.asarray(values.detach().cpu().clamp(0, 1).mul(255).round().byte().numpy())
