"""The sample inside the package: 110,000 generated jets, at most 8 MB.

sample.npz holds planes (15, 4, N) uint8, the bytes of the float32 features one plane each (equal
bytes lie together and compress), and y (N,) uint8. d2_a1_b1 equals d2_b1 and is not stored twice.
sample.json beside it says how the jets were made, and the SHA-256 of sample.npz.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from pareq.errors import DataError
from pareq.tasks.atomic import write_whole
from pareq.tasks.jets.features import FEATURES
from pareq.tasks.table import Table

__all__ = ["load_sample", "pack_sample"]

_STORED = tuple(name for name in FEATURES if name != "d2_a1_b1_mmdt")
_SOURCE = tuple(
    _STORED.index("d2_b1_mmdt" if name == "d2_a1_b1_mmdt" else name) for name in FEATURES
)
_HERE = Path(__file__).parent


def load_sample(folder: Path = _HERE) -> Table:
    """The jets in `folder`; raises DataError when the file is absent or its bytes changed."""
    try:
        about = json.loads((folder / "sample.json").read_text())
        content = (folder / "sample.npz").read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename} is missing; install pareq again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != about["sha256"]:
        raise DataError(
            f"{folder / 'sample.npz'} is damaged (sha256 {found[:12]}.., expected"
            f" {about['sha256'][:12]}..); install pareq again"
        )
    with np.load(io.BytesIO(content)) as arrays:
        planes, y = arrays["planes"], arrays["y"]
    stored = np.ascontiguousarray(planes.transpose(2, 0, 1)).view("<f4")[..., 0]
    return Table(
        x=stored[:, _SOURCE],
        y=y.astype(np.int64),
        name=f"generated jets, {len(y):,}, sha256 {found[:12]}..",
        columns=FEATURES,
    )


def pack_sample(source: Path, folder: Path = _HERE) -> Path:
    """Write sample.npz and sample.json into `folder` from a file made by `generate`."""
    with np.load(source) as arrays:
        x, y = arrays["X"].astype("<f4"), arrays["y"]
        origin = json.loads(str(arrays["origin"]))
    stored = np.ascontiguousarray(x[:, [FEATURES.index(name) for name in _STORED]])
    if not (stored[:, _SOURCE] == x).all():
        raise DataError(f"{source.name}: d2_a1_b1_mmdt differs from d2_b1_mmdt")
    planes = stored.view(np.uint8).reshape(*stored.shape, 4).transpose(1, 2, 0)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, planes=np.ascontiguousarray(planes), y=y.astype(np.uint8))
    content = buffer.getvalue()
    about = {"sha256": hashlib.sha256(content).hexdigest(), "jets": len(y), **origin}
    write_whole(folder / "sample.npz", lambda file: file.write(content))
    note = (json.dumps(about, indent=2) + "\n").encode()
    write_whole(folder / "sample.json", lambda file: file.write(note))
    return folder / "sample.npz"
