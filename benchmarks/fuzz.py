"""A mutation fuzzer over the readers, which know no coverage but the structure of their formats.

    python benchmarks/fuzz.py [--cases 200000] [--workers 2] [--start 0] [--case N]

Seeds are crops of the sample films in every format and many of its kinds. A case is told by its number alone, so that
``--case N`` shows again what case N did. Of each case it is asked that it gives films that keep the contract, or a
refusal in our words; that it ends within 5 s; that the process lives and stays below 1.5 GB. Ends with status 1
otherwise.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from xray_core.archive import Archive
from xray_core.decode import Limits, container_of, open_pages
from xray_core.dicom_out import derived
from xray_core.embedding import text_of
from xray_core.errors import FileError
from xray_core.files import read
from xray_core.limits import bound_memory

# isort: split
import cv2
import numpy as np
import PIL.Image
import tifffile
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

LIMITS = Limits(pixels=4_000_000, file_bytes=50_000_000, pages=50, members=200, unpacked_bytes=200_000_000)
SLOWEST = 5.0
MEMORY = 1_500_000_000
_EDGES = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    31,
    32,
    64,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
)


def pillow(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(*pages: np.ndarray, byteorder: str = "<", bigtiff: bool = False, **options: Any) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, byteorder=byteorder, bigtiff=bigtiff) as writer:
        for page in pages:
            writer.write(page, **options)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def zipped(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@cache
def seeds() -> tuple[bytes, ...]:
    """Return small files of every kind that is read, made of crops of the sample films."""
    gray = read(ROOT / "sample_images" / "chest.png").pixels[200:232, 180:220].copy()
    deep = read(ROOT / "sample_images" / "chest_16bit.png").pixels[200:232, 180:220].copy()
    film = read(ROOT / "sample_images" / "damaged.png").pixels[200:232, 180:220].copy()
    rgb = film if film.ndim == 3 else np.dstack([film] * 3)
    rgba = np.dstack([rgb, gray])
    one, colour = PIL.Image.fromarray(gray), PIL.Image.fromarray(rgb)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    unit = (gray / np.float32(255)).astype(np.float32)
    png = [
        pillow(image, "PNG")
        for image in (one, colour, PIL.Image.fromarray(rgba), colour.quantize(16), one.convert("1"))
    ]
    png += [pillow(one, "PNG", exif=exif), cv2.imencode(".png", deep)[1].tobytes(), pillow(one.convert("LA"), "PNG")]
    jpeg = [pillow(one, "JPEG"), pillow(colour, "JPEG", exif=exif), pillow(colour, "JPEG", progressive=True)]
    jpeg += [pillow(colour.convert("CMYK"), "JPEG"), pillow(one, "JPEG", comment=b"words", restart_marker_rows=1)]
    other = [pillow(one, "BMP"), pillow(colour, "BMP"), pillow(one.convert("1"), "BMP"), pillow(colour, "WEBP")]
    other += [pillow(colour, "WEBP", lossless=True, exif=exif), pillow(PIL.Image.fromarray(rgba), "WEBP")]
    grays: list[dict[str, Any]] = [{}, {"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}, {"rowsperstrip": 5}]
    grays += [{"compression": name} for name in ("zlib", "lzw", "packbits")]
    grays += [{"compression": "zlib", "predictor": True, "tile": (16, 16)}]
    tiffs = [tiff(image, photometric="minisblack", **options) for image in (gray, deep) for options in grays]
    tiffs += [tiff(unit), tiff(gray.astype(np.int8)), tiff(deep.astype(np.uint32) << 16), tiff(unit.astype(np.float16))]
    tiffs += [
        tiff(gray, photometric="miniswhite"),
        tiff(gray > 99),
        tiff(gray, deep, gray[:9], photometric="minisblack"),
    ]
    tiffs += [
        tiff(rgb, photometric="rgb"),
        tiff(np.moveaxis(rgba, -1, 0).copy(), photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]),
    ]
    tiffs += [tiff(gray, photometric="palette", colormap=np.arange(768, dtype=np.uint16).reshape(3, 256))]
    tiffs += [pillow(colour, "TIFF", compression=name) for name in ("jpeg", "tiff_lzw", "tiff_adobe_deflate")]
    tiffs += [pillow(one.convert("1"), "TIFF", compression=name) for name in ("group3", "group4", "tiff_ccitt")]
    arrays = [npy(array) for array in (gray, deep, rgb, unit, gray > 99, np.stack([gray, gray]), gray.astype(">i4"))]
    arrays += [npy(np.asfortranarray(deep))]
    archives = [
        zipped({"a.npy": arrays[0]}),
        zipped({"a.npy": arrays[5], "b.npy": arrays[1], "n.npy": npy(np.arange(3))}),
    ]
    archives += [zipped({"a.npy": arrays[1]}, zipfile.ZIP_STORED)]
    archives += [zipped({"a.png": png[0], "b/c.jpg": jpeg[0], "../d.tif": tiffs[0]})]
    return (*png, *jpeg, *other, *tiffs, *arrays, *archives, *_dicoms(gray, deep))


def _dicoms(gray: np.ndarray, deep: np.ndarray) -> list[bytes]:
    """Return DICOM files of several transfer syntaxes, with what changes grey values."""
    found = []
    for image, syntaxes in (
        (deep, [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless]),
        (gray, [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit]),
    ):
        for number, syntax in enumerate(syntaxes):
            ds = dcmread(io.BytesIO(derived(image)))
            ds.PhotometricInterpretation = ("MONOCHROME1", "MONOCHROME2")[number % 2]
            ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = ["90", "40"], ["120", "60"], "SIGMOID"
            ds.RescaleSlope, ds.RescaleIntercept = "1.5", "-20"
            ds.add_new("PixelPaddingValue", "US", 0)
            ds.ImagerPixelSpacing = ["0.2", "0.2"]
            if syntax == JPEGBaseline8Bit:
                ds.PixelData = encapsulate([pillow(PIL.Image.fromarray(image), "JPEG")])
                ds["PixelData"].is_undefined_length = True
                ds.file_meta.TransferSyntaxUID = syntax
            elif syntax.is_encapsulated:
                ds.compress(syntax)
            else:
                ds.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                ds.PixelData = image.byteswap().tobytes()
            out = io.BytesIO()
            dcmwrite(out, ds, enforce_file_format=True)
            found.append(out.getvalue())
    many = dcmread(io.BytesIO(derived(deep)))
    many.NumberOfFrames, many.PixelData = 3, deep.tobytes() * 3
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, 8])
    table.add_new("LUTData", "OW", bytes(range(256)))
    many.VOILUTSequence = [table]
    out = io.BytesIO()
    dcmwrite(out, many, enforce_file_format=True)
    return [*found, out.getvalue(), found[0][132:]]


def case(number: int) -> bytes:
    """Return the file of one case."""
    chance = random.Random(number)
    data = bytearray(chance.choice(seeds()))
    inner = bytes(data[:4]) == b"PK\x03\x04" and chance.random() < 0.5
    if inner:
        data = bytearray(chance.choice([seed for seed in seeds() if seed[:6] == b"\x93NUMPY"]))
    for _ in range(1 + int(chance.expovariate(0.4))):
        chance.choice(_MUTATIONS)(data, chance)
        if not data:
            data = bytearray(b"\0")
    if inner:
        return zipped({"a.npy": bytes(data)})
    # Most damage to a PNG ends at its checksums: half of the cases have good ones.
    return _with_checksums(bytes(data)) if chance.random() < 0.5 else bytes(data)


def _flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))


def _number(data: bytearray, chance: random.Random) -> None:
    """Write an edge number of 2, 4 or 8 bytes, mostly among the headers at both ends."""
    kind = chance.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"])
    size = struct.calcsize(kind)
    if len(data) < size:
        return
    most = len(data) - size
    place = chance.choice(
        (
            chance.randint(0, most),
            min(most, int(chance.expovariate(0.02))),
            max(0, most - int(chance.expovariate(0.01))),
        )
    )
    struct.pack_into(kind, data, place, chance.choice(_EDGES) % (1 << (8 * size)))


def _nudge(data: bytearray, chance: random.Random) -> None:
    place = chance.randrange(len(data))
    data[place] = (data[place] + chance.choice((-2, -1, 1, 2))) % 256


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randint(0, len(data)) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + 1 + int(chance.expovariate(0.1))]


def _insert(data: bytearray, chance: random.Random) -> None:
    start = chance.randint(0, len(data))
    data[start:start] = chance.randbytes(1 + int(chance.expovariate(0.2)))


def _repeat(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    part = data[start : start + 1 + int(chance.expovariate(0.03))]
    data[start:start] = part * chance.choice((1, 1, 2, 40))


def _swap(data: bytearray, chance: random.Random) -> None:
    one, other = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    size = min(other - one, 1 + int(chance.expovariate(0.1)))
    data[one : one + size], data[other : other + size] = data[other : other + size], data[one : one + size]


def _splice(data: bytearray, chance: random.Random) -> None:
    other = chance.choice(seeds())
    start, from_ = chance.randrange(len(data)), chance.randrange(len(other))
    size = 1 + int(chance.expovariate(0.02))
    data[start : start + size] = other[from_ : from_ + size]


_MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _flip, _byte, _byte, _number, _number, _number, _nudge, _cut, _remove, _insert, _repeat, _swap, _splice,
)  # fmt: skip


def _with_checksums(data: bytes) -> bytes:
    """Return a PNG with the checksum of each chunk set right, as far as its chunks can be followed."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, place = bytearray(data), 8
    while place + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, place)
        end = place + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[place + 4 : end]))
        place = end + 4
    return bytes(out)


def tried(data: bytes) -> str:
    """Read a file as the program would; return what came of it, or raise what should never come."""
    text_of(data)
    try:
        opened = open_pages(data, "any", LIMITS)
        for page in range(1, min(opened.count, 4) + 1):
            film = opened.film(page)
            pixels = film.pixels
            assert pixels.size > 0
            assert pixels.ndim == 2 or pixels.shape[2:] == (3,)
            assert pixels.dtype in ((np.uint8, np.uint16) if pixels.ndim == 2 else (np.uint8,))
            assert pixels.shape[0] * pixels.shape[1] <= LIMITS.pixels
            assert not pixels.flags.writeable
            assert 1 <= film.bits <= 16
        return f"{film.container} loaded"
    except FileError as error:
        words = str(error)
        assert 8 <= len(words) <= 200, words
        assert "\n" not in words
        if error.code == "UNSUPPORTED" and "for batch" in words:
            return unpacked(data)
        return f"{container_of(data[:132])} {error.code}"


def unpacked(data: bytes) -> str:
    """Read an archive of films."""
    try:
        with Archive(data, LIMITS) as archive:
            for member in archive.members()[:20]:
                try:
                    archive.read(member.number)
                except FileError:
                    continue
        return "archive listed"
    except FileError as error:
        return f"archive {error.code}"


def work(start: int, end: int, notes: Path) -> None:
    """Run cases in this process, saying before each which one it is."""
    bound_memory(MEMORY)
    cv2.setNumThreads(1)
    counts = Counter[str]()
    with notes.open("r+b", buffering=0) as note:
        for number in range(start, end):
            note.seek(0)
            note.write(struct.pack("<Q", number))
            data = case(number)
            started = time.perf_counter()
            try:
                counts[tried(data)] += 1
            except Exception as error:
                print(json.dumps({"fault": f"case {number}: {type(error).__name__}: {error!s:.200}"}), flush=True)
            seconds = time.perf_counter() - started
            if seconds > SLOWEST:
                print(json.dumps({"fault": f"case {number}: took {seconds:.1f} s"}), flush=True)
    most = 0
    if sys.platform != "win32":
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"counts": counts, "memory": most}), flush=True)


def run(start: int, end: int, workers: int) -> tuple[Counter[str], list[str], int]:
    """Run cases in processes that may die; return what came of them, the faults, and the most memory taken in kB."""
    counts, faults, memory = Counter[str](), [], 0
    shares = [
        (start + (end - start) * one // workers, start + (end - start) * (one + 1) // workers) for one in range(workers)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        running = []
        for low, high in shares:
            notes = Path(scratch, str(low))
            notes.write_bytes(struct.pack("<Q", low))
            running.append((low, high, notes, _child(low, high, notes)))
        while running:
            low, high, notes, child = running.pop(0)
            out = _ended(child, notes)
            for line in out.splitlines():
                said = json.loads(line)
                faults += [said["fault"]] if "fault" in said else []
                counts.update(said.get("counts", {}))
                memory = max(memory, said.get("memory", 0))
            if child.returncode == 1:
                raise RuntimeError("the fuzzer itself failed; see python benchmarks/fuzz.py --case 0")
            if child.returncode != 0:
                (number,) = struct.unpack("<Q", notes.read_bytes())
                faults.append(f"case {number}: the process ended with {child.returncode}")
                if number + 1 < high:
                    running.append((number + 1, high, notes, _child(number + 1, high, notes)))
    return counts, faults, memory


def _child(low: int, high: int, notes: Path) -> subprocess.Popen[str]:
    line = [sys.executable, __file__, "--work", str(low), str(high), str(notes)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _ended(child: subprocess.Popen[str], notes: Path) -> str:
    """Wait for a process to end, and end it where one case takes more than a minute."""
    before = b""
    while True:
        try:
            return child.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            if (now := notes.read_bytes()) == before:
                child.kill()
            before = now


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutated files through the readers.")
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--case", type=int)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(int(given.work[0]), int(given.work[1]), Path(given.work[2]))
        return 0
    if given.case is not None:
        print(tried(case(given.case)))
        return 0
    started = time.perf_counter()
    counts, faults, memory = run(given.start, given.start + given.cases, given.workers)
    for what, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{count:8} {what}")
    seconds = time.perf_counter() - started
    print(f"{counts.total()} cases of {len(seeds())} seeds in {seconds:.0f} s, at most {memory / 1e6:.2f} GB")
    print("\n".join(["faults:", *faults]) if faults else "no faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
