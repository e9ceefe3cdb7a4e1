"""Pictures as PNG files (ISO/IEC 15948), so that a page can hold them."""

import base64
import struct
import zlib
from html import escape

import numpy as np
from numpy.typing import NDArray

from pareq.errors import ReportError

__all__ = ["image", "png"]


def png(picture: NDArray[np.uint8]) -> bytes:
    """Bytes (H, W) of grey or (H, W, 3) of colour as a file; raises ReportError for others."""
    wanted = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    if picture.dtype != np.uint8 or not wanted or 0 in picture.shape:
        raise ReportError(
            f"a picture is {picture.dtype} {picture.shape}, expected uint8 (H, W) or (H, W, 3)"
        )
    height, width = picture.shape[:2]
    lines = np.zeros((height, 1 + picture[0].size), np.uint8)  # each begins with its filter: none
    lines[:, 1:] = picture.reshape(height, -1)
    colour = 0 if picture.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def image(picture: NDArray[np.uint8], label: str) -> str:
    """An `<img>` element that holds the picture; label: what it shows, in words."""
    data = base64.b64encode(png(picture)).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(label)}">'
