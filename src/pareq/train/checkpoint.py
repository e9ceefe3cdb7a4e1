"""Checkpoints: all state of a step in one safetensors file that is whole, or refused.

The file is plain safetensors. Its metadata has one key, `pareq`, a JSON object:

| key | value |
|---|---|
| version | of this format |
| checksum | SHA-256 of the whole file with these 64 digits set to zero |
| facts | everything that is not a tensor: cursor, recipe hash, learning rate, best epoch |
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import safetensors.torch
from torch import Tensor

from pareq.errors import CheckpointError
from pareq.train import durable

__all__ = ["VERSION", "Checkpoint", "Json", "newest", "path_of", "read", "thin", "write"]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

VERSION = 1
_BLANK = "0" * 64
_HEADER_LIMIT = 100_000_000  # bytes, the limit of safetensors itself


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    tensors: by name. facts: plain numbers and text. source: the file that it was read from.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Json]
    source: str = ""


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies in `folder`."""
    return folder / f"step-{step:08d}.safetensors"


def newest(folder: Path) -> Path | None:
    """The checkpoint of the latest step in `folder`, whole or not; None when there is none."""
    return max(_steps(folder), default=None)


def thin(folder: Path, keep: int) -> None:
    """Remove all but the latest `keep` checkpoints of `folder`."""
    for old in sorted(_steps(folder))[:-keep]:
        old.unlink(missing_ok=True)


def write(path: Path, content: Checkpoint) -> None:
    """Store `content` at `path`: atomic, durable, with a checksum over all bytes.

    Raises RunError when the disk is full or the folder cannot be written.
    """
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in content.tensors.items()}
    about = {"version": VERSION, "checksum": _BLANK, "facts": content.facts}
    blank = safetensors.torch.save(tensors, {"pareq": json.dumps(about, sort_keys=True)})
    checksum = hashlib.sha256(blank).hexdigest()
    durable.write(path, blank.replace(_BLANK.encode(), checksum.encode(), 1))


def read(path: Path, *, recipe: str | None = None) -> Checkpoint:
    """The content of the checkpoint at `path`; recipe: the hash that it must have been made with.

    Raises CheckpointError when it is missing, truncated, damaged, no checkpoint, of another format
    version or of another recipe; it says what to do.
    """
    try:
        content = _whole(path)
    except _BrokenError as broken:
        raise CheckpointError(f"{broken}; {_remedy(path)}", where=str(path)) from None
    if recipe is not None and content.facts.get("recipe") != recipe:
        fact = "belongs to another recipe; put it back into its own run folder"
        raise CheckpointError(fact, where=str(path))
    return content


class _BrokenError(Exception):
    """The bytes of a checkpoint are not all there, or not the ones that were written."""


def _steps(folder: Path) -> Iterable[Path]:
    return folder.glob("step-*.safetensors")


def _whole(path: Path) -> Checkpoint:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _BrokenError("is missing") from None
    except OSError as error:
        fact = f"cannot be read ({error.strerror}); check its permissions"
        raise CheckpointError(fact, where=str(path)) from None
    about = _about(data)
    if not about:
        raise _BrokenError("is no checkpoint of pareq")
    checksum = str(about.get("checksum"))
    blank = data.replace(checksum.encode(), _BLANK.encode(), 1)
    if hashlib.sha256(blank).hexdigest() != checksum:
        raise _BrokenError("is damaged: its checksum does not fit its bytes")
    if about.get("version") != VERSION:
        fact = f"has format version {about.get('version')}, this pareq reads {VERSION}"
        raise CheckpointError(f"{fact}; use the pareq that wrote it", where=str(path))
    tensors = {name: t.clone() for name, t in safetensors.torch.load(data).items()}
    return Checkpoint(tensors, _object(about.get("facts")), str(path))


def _about(data: bytes) -> dict[str, Json]:
    """The `pareq` object of the header, once the data has the length that the header says."""
    end = 8 + int.from_bytes(data[:8], "little")
    if end > _HEADER_LIMIT:
        raise _BrokenError("is damaged: its header makes no sense")
    if len(data) < max(end, 9):
        raise _BrokenError(f"is truncated: it ends inside its header, at {len(data):,} bytes")
    try:
        header = _object(json.loads(data[8:end]))
        metadata = _object(header.pop("__metadata__", None))
        size = end + max((_end(entry) for entry in header.values()), default=0)
        about = _object(json.loads(str(metadata.get("pareq", "null"))))
    except (ValueError, TypeError, LookupError):
        raise _BrokenError("is damaged: its header makes no sense") from None
    if len(data) < size:
        raise _BrokenError(f"is truncated: it has {len(data):,} of {size:,} bytes")
    return about


def _end(entry: Json) -> int:
    offsets = _object(entry)["data_offsets"]
    if not isinstance(offsets, list) or not isinstance(offsets[1], int):
        raise TypeError
    return offsets[1]


def _object(value: Json) -> dict[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TypeError
    return value


def _remedy(path: Path) -> str:
    """What to do without the file at `path`: which other checkpoint is whole."""
    for other in sorted(_steps(path.parent), reverse=True):
        if other != path and _is_whole(other):
            gone = "move it away" if path.exists() else "make the same call again"
            return f"{gone} to continue from {other.name}, which is whole"
    return "no other checkpoint beside it is whole, so start anew in another folder"


def _is_whole(path: Path) -> bool:
    try:
        _whole(path)
    except (_BrokenError, CheckpointError):
        return False
    return True
