#!/usr/bin/env python3
"""Makes code streams with other people's encoders, and says what other people's decoders give for them.

    codec_check.py make FOLDER    thousands of streams; FOLDER/cases.txt has a line for each
    codec_check.py golden         a small one of each kind, with the stream in the line, on standard output
    codec_check.py speed FOLDER   large images as DICOM files, each also without compression, for `martello-bench`

A line: codec, rows, columns, samples, bits allocated, SHA-256 of the samples (by pixel, little endian, in as many bytes as
the stream's precision needs; RLE: as allocated), name, and the stream's file or its bytes in hexadecimal.

    codec      made by                                  reference
    jpeg-ls    CharLS, jpeg_ls_encoder.py               CharLS; for a number of lines behind the scan, which CharLS
                                                        does not read, the image; and the image within its error
    jpeg       libjpeg-turbo, 8 and 12 bits; Pillow     libjpeg-turbo
               (restart intervals)
    lossless   libjpeg-turbo                            libjpeg-turbo, and the image; with a point transform the image
    rle        pydicom; segments put together here      the image
"""

import hashlib
import io
import itertools
import struct
import sys
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np
from jpeg_ls_encoder import encode as jpeg_ls_by_hand
from PIL import Image
from pydicom import DataElement, Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.native import _encode_segment

KINDS = ["noise", "flat", "smooth", "dots"]
SIZES = [(1, 1), (3, 5), (40, 61), (1, 200), (64, 1)]


def picture(kind: str, rows: int, columns: int, samples: int, bits: int) -> np.ndarray:
    """Rows, columns, samples; each a case that coders treat in another way: nothing but escapes, nothing but runs,
    gradients, runs that end."""
    random = np.random.default_rng([KINDS.index(kind), rows, columns, samples, bits])
    top = 2**bits - 1
    y, x = np.mgrid[0:rows, 0:columns]
    if kind == "noise":
        image = random.integers(0, top, (rows, columns, samples), endpoint=True)
    elif kind == "flat":
        image = np.full((rows, columns, samples), top // 3)
        image[rows // 2 :, columns // 3 :] = top
    elif kind == "smooth":
        waves = [(np.sin(x / (9 + i)) * np.cos(y / (7 + i)) + 1) / 2 * top for i in range(samples)]
        image = np.stack(waves, -1) + random.normal(0, top / 200, (rows, columns, samples))
    else:
        image = np.zeros((rows, columns, samples), np.int64)
        mask = random.random((rows, columns)) < 0.03
        image[mask] = random.integers(0, top, (mask.sum(), samples), endpoint=True)
    return np.clip(np.rint(image), 0, top).astype("u1" if bits <= 8 else "<u2")


def within(decoded: np.ndarray, image: np.ndarray, error: int) -> np.ndarray:
    farthest = np.abs(decoded.astype(np.int64) - image).max()
    assert farthest <= error, f"the reference is {farthest} away from the image"
    return decoded


def with_charls(kinds, depths, sizes):
    for kind, bits, size, samples, near in itertools.product(kinds, depths, sizes, [1, 3], [0, 1, 3]):
        if near > (2**bits - 1) // 2:
            continue
        image = picture(kind, *size, samples, bits)
        for interleave in range(3 if samples > 1 else 1):
            planes = image.transpose(2, 0, 1) if samples > 1 and interleave == 0 else image
            try:
                stream = bytes(jpeg_ls.encode_buffer(planes.tobytes(), *size, samples, bits, near, interleave))
            except RuntimeError:
                assert image.size < 50  # the binding has too small a buffer for what grows
                continue
            decoded = np.frombuffer(bytes(jpeg_ls.decode_buffer(stream)[0]), image.dtype).reshape(planes.shape)
            if planes is not image:
                decoded = decoded.transpose(1, 2, 0)
            name = f"charls-{kind}-{bits}-near{near}-interleave{interleave}"
            yield "jpeg-ls", image, stream, within(decoded, image, near), name


OPTIONS = [{"limits": (3, 9, 20)}, {"limits": (0, 0, 15)}, {"reset": 3}, {"reset": 200}, {"restart": 4}, {"restart": 1},
           {"lines_behind": True}, {"comment": b"\xff\xd8\xff\xda"}]


def with_presets(kinds, depths, size):
    for kind, bits, samples, near, options in itertools.product(kinds, depths, [1, 3], [0, 2], OPTIONS):
        image = picture(kind, *size, samples, bits)
        planes = [image[..., sample].tolist() for sample in range(samples)]
        try:
            stream = jpeg_ls_by_hand(planes, bits, near, **options)
        except ValueError:
            continue  # thresholds beyond the largest sample
        if "lines_behind" in options:
            known = jpeg_ls_by_hand(planes, bits, near)
        else:
            known = stream
        decoded = np.frombuffer(bytes(jpeg_ls.decode_buffer(known)[0]), image.dtype).reshape(image.shape)
        name = f"presets-{kind}-{bits}-near{near}-{'-'.join(options)}-{len(str(options))}"
        yield "jpeg-ls", image, stream, within(decoded, image, near), name


def with_dct(kinds, sizes, qualities):
    for kind, bits, size, samples, level, sampling in itertools.product(
        kinds, [8, 12], sizes, [1, 3], qualities, ["444", "422", "420", "440", "411"]
    ):
        if samples == 1 and sampling != "444":
            continue
        image = picture(kind, *size, samples, bits)
        colour = samples > 1
        stream = imagecodecs.jpeg_encode(image if colour else image[..., 0], level=level, bitspersample=bits,
                                         subsampling=sampling if colour else None)
        decoded = imagecodecs.jpeg_decode(stream, **({"outcolorspace": "YCBCR"} if colour else {}))
        yield "jpeg", image, bytes(stream), decoded, f"dct-{kind}-{bits}-{sampling}-{level}"
    for kind, samples, interval in itertools.product(kinds, [1, 3], [1, 3, 7]):
        image = picture(kind, 70, 91, samples, 8)
        file = io.BytesIO()
        Image.fromarray(image if samples > 1 else image[..., 0]).save(
            file, "JPEG", quality=80, restart_marker_blocks=interval)
        decoded = imagecodecs.jpeg_decode(file.getvalue(), **({"outcolorspace": "YCBCR"} if samples > 1 else {}))
        yield "jpeg", image, file.getvalue(), decoded, f"dct-restart{interval}-{kind}"


def with_lossless(kinds, depths, sizes, predictors):
    for kind, bits, size, samples, predictor in itertools.product(kinds, depths, sizes, [1, 3], predictors):
        image = picture(kind, *size, samples, bits)
        colour = {"colorspace": "RGB", "outcolorspace": "RGB"} if samples > 1 else {}
        stream = bytes(imagecodecs.jpeg_encode(
            image if samples > 1 else image[..., 0], lossless=True, predictor=predictor, bitspersample=bits, **colour))
        name = f"lossless-{kind}-{bits}-predictor{predictor}"
        decoded = imagecodecs.jpeg_decode(stream, **colour).reshape(image.shape)
        yield "jpeg", image, stream, within(decoded, image, 0), name
        # The same differences under a precision of two bits more, which a point transform takes off again (H.1.2.1).
        if 2 < bits <= 6 or 8 < bits <= 14:
            frame, scan = stream.index(b"\xff\xc3"), stream.index(b"\xff\xda")
            end = scan + 2 + struct.unpack_from(">H", stream, scan + 2)[0]
            shifted = bytearray(stream)
            shifted[frame + 4] += 2
            shifted[end - 1] = 2
            yield "jpeg", image, bytes(shifted), image << 2, name + "-point2"


def with_rle(kinds, size):
    for kind, width, samples in itertools.product(kinds, [1, 2, 3, 4, 8], [1, 3]):
        if width * samples > 15:
            continue
        random = picture(kind, *size, samples * width, 8)
        segments = []
        for sample in range(samples):
            for byte in reversed(range(width)):
                plane = random[..., sample * width + byte]
                segments.append(bytes(_encode_segment(plane.tobytes(), size[1])))
        places = list(itertools.accumulate([64, *map(len, segments)]))[:-1]
        stream = struct.pack("<16I", len(segments), *places, *[0] * (15 - len(segments))) + b"".join(segments)
        yield "rle", random, stream, random, f"rle-{kind}-{8 * width}", samples, 8 * width


def line(case, where) -> str:
    codec, image, stream, decoded, name, *shape = case
    rows, columns, samples = image.shape
    samples, allocated = shape or (samples, 8 * image.dtype.itemsize)
    digest = hashlib.sha256(np.ascontiguousarray(decoded).tobytes()).hexdigest()
    return f"{codec} {rows} {columns} {samples} {allocated} {digest} {name} {where(stream)}"


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cases = itertools.chain(
        with_charls(KINDS, [2, 3, 5, 7, 8, 9, 10, 12, 15, 16], SIZES),
        with_presets(KINDS, [5, 8, 12, 16], (23, 31)),
        with_dct(KINDS, [(1, 1), (3, 5), (40, 61), (7, 200), (129, 130)], [30, 75, 97]),
        with_lossless(KINDS, [2, 3, 5, 8, 9, 12, 15, 16], SIZES, range(1, 8)),
        with_rle(KINDS, (40, 61)),
    )

    def written(stream: bytes) -> str:
        name = hashlib.sha256(stream).hexdigest()[:32]
        (folder / name).write_bytes(stream)
        return name

    (folder / "cases.txt").write_text("".join(line(case, written) + "\n" for case in cases))


def golden() -> None:
    print("# Made by tests/oracle/codec_check.py golden, which says what stands where.")
    cases = itertools.chain(
        with_charls(["smooth"], [2, 8, 12, 16], [(7, 12)]),
        with_charls(["dots"], [8], [(9, 40)]),
        with_presets(["smooth"], [8], (7, 9)),
        with_dct(["smooth"], [(10, 19)], [80]),
        with_lossless(["smooth"], [2, 8, 12, 16], [(4, 7)], [1, 4, 6, 7]),
        with_rle(["dots"], (5, 7)),
    )
    for case in cases:
        if case[1].shape[:2] != (70, 91):
            print(line(case, bytes.hex))


def large(bits: int) -> np.ndarray:
    """A round body with structure and a scanner's noise, on black."""
    y, x = np.mgrid[0:2048, 0:2048]
    top = 2**bits - 1
    image = (np.sin(x / 90) * np.cos(y / 70) + 1) / 2 * top * 0.9
    image += np.random.default_rng(bits).normal(0, {8: 2, 12: 12, 16: 40}[bits], x.shape)
    image[np.hypot(x - 1024, y - 1024) > 950] = 0
    return np.clip(np.rint(image), 0, top).astype("u1" if bits <= 8 else "<u2")


def speed(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    base = "1.2.840.10008.1.2"
    for name, syntax, bits, encode in [
        ("jpeg-ls-16", "4.80", 16, lambda image: jpeg_ls.encode_buffer(image.tobytes(), 2048, 2048, 1, 16, 0, 0)),
        ("jpeg-ls-8", "4.80", 8, lambda image: jpeg_ls.encode_buffer(image.tobytes(), 2048, 2048, 1, 8, 0, 0)),
        ("jpeg-lossless-16", "4.70", 16, lambda image: imagecodecs.jpeg_encode(image, lossless=True, predictor=1, bitspersample=16)),
        ("jpeg-12", "4.51", 12, lambda image: imagecodecs.jpeg_encode(image, level=90, bitspersample=12)),
        ("jpeg-8", "4.50", 8, lambda image: imagecodecs.jpeg_encode(image, level=90)),
        ("rle-16", "5", 16, None),
        ("jpeg2000-16", "4.90", 16, lambda image: imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k")),
    ]:
        image = large(bits)
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.2", "2.999.1", "CT"
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", 2048, 2048
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8 * image.itemsize, bits, bits - 1, 0
        ds.file_meta.TransferSyntaxUID = f"{base}.1"
        ds["PixelData"] = DataElement("PixelData", "OW" if bits > 8 else "OB", image.tobytes())
        ds.save_as(folder / f"{name}-plain.dcm", enforce_file_format=True)
        if encode is None:
            ds.compress(f"{base}.{syntax}")
        else:
            ds.file_meta.TransferSyntaxUID = f"{base}.{syntax}"
            ds["PixelData"] = DataElement("PixelData", "OB", encapsulate([bytes(encode(image))]))
            ds["PixelData"].is_undefined_length = True
        ds.save_as(folder / f"{name}.dcm", enforce_file_format=True)


def main() -> int:
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["speed", folder]:
            speed(Path(folder))
        case ["golden"]:
            golden()
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
