"""A text that travels in a picture file, beside the pixels: written into encoded bytes, and read back from any.

| format | place |
|---|---|
| PNG | an iTXt chunk of its own keyword, uncompressed UTF-8 (PNG 1.2, 4.2.3.3) |
| JPEG | a COM segment |
| TIFF | ImageDescription; the writer puts it there, see `xray_core.encode` |
| NPZ | the comment of the zip archive, which NumPy passes over |

Pixels stay as they are: a file with the text and one without decode alike.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from PIL import JpegImagePlugin, PngImagePlugin

KEYWORD = "radtune-settings"
"""Keyword of the PNG chunk, and what a text begins with elsewhere."""
MOST_BYTES = 60_000
"""Most bytes of a text: what one COM segment or zip comment holds, with some air."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = len(_SIGNATURE) + 25  # signature and IHDR, which stands first


def into_png(data: bytes, text: str) -> bytes:
    """Return a PNG with a text behind its header."""
    content = KEYWORD.encode() + b"\0\0\0\0\0" + text.encode()
    chunk = b"iTXt" + content
    packed = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    # Joined at once: sums would copy the whole picture twice.
    return b"".join([memoryview(data)[:_PNG_HEADER], packed, memoryview(data)[_PNG_HEADER:]])


def into_jpeg(data: bytes, text: str) -> bytes:
    """Return a JPEG with a text before its first table, behind the JFIF segment where there is one."""
    place = 2
    if data[2:4] == b"\xff\xe0":
        place += 2 + int.from_bytes(data[4:6], "big")
    content = marked(text).encode()
    return data[:place] + b"\xff\xfe" + struct.pack(">H", len(content) + 2) + content + data[place:]


def marked(text: str) -> str:
    """Return a text as it stands where there is no keyword: behind ours."""
    return f"{KEYWORD}: {text}"


def text_of(data: bytes) -> str | None:
    """Return the text that a picture file carries, or None; never raises, whatever the bytes are."""
    try:
        text = _found(data)
    except Exception:  # the parsers raise nearly anything on damaged input
        return None
    return text if text is None or len(text) <= MOST_BYTES else None


def _found(data: bytes) -> str | None:
    if data.startswith(_SIGNATURE):
        png = PngImagePlugin.PngImageFile(io.BytesIO(data))
        text = png.info.get(KEYWORD)
        return str(text) if text is not None else None
    if data.startswith(b"\xff\xd8\xff"):
        jpeg = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
        texts = [content for name, content in jpeg.applist if name == "COM"]
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        import tifffile  # takes 0.1 s: only those who open a TIFF wait for it

        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            texts = [tiff.pages.first.description.encode()]
    elif data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            texts = [archive.comment]
    else:
        return None
    mark = marked("").encode()
    ours = next((text for text in texts if text.startswith(mark)), None)
    return ours[len(mark) :].decode() if ours is not None else None
