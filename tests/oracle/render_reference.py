#!/usr/bin/env python3
"""Writes what the normalisation stage must arrive at, step by step, as .npy files.

    render_reference.py --out FOLDER [--window N] FILE...

For FILE `x.dcm`, where a step applies:
    x.stored.npy    stored values, integers, shape [frames,] rows, columns [, samples]; nothing converted
    x.modality.npy  f64, after the modality LUT or slope and intercept (PS3.3 C.11.1)
    x.voi.npy       f64 in [0, 1], after VOI LUT or window number N (PS3.3 C.11.2); grey only
    x.render.npy    u8: 255 * voi, half rounded up, MONOCHROME1 inverted; RGB for colour
One JSON line a file: shapes, types, which rule was used, or the class of the error.

The window formulas are written out here and compared with pydicom's on every file, so that neither a slip of ours
nor one of theirs becomes the reference. Where a file has neither VOI LUT nor window, the values are spread from
least to greatest, padding left out. Tolerances: modality bit-equal; voi 1e-9 relative; render one grey level.
"""

import argparse
import json
import logging
import sys
import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_windowing
from pydicom.pixels import pixel_array as pydicoms

# A bare data set is what pydicom found it to be: (implicit, little endian).
BARE = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1", (False, False): "1.2.840.10008.1.2.2"}
BASELINE, EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"


def pixel_array(ds, raw: bool):
    """As pydicom gives them. DCT is taken from libjpeg-turbo alone, since decoders may round differently: Pillow's for
    eight bits, that of imagecodecs for twelve, which Pillow does not have."""
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax == EXTENDED:
        frames = [imagecodecs.jpeg_decode(frame) for frame in generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))]
        return np.stack(frames) if len(frames) > 1 else frames[0]
    return pydicoms(ds, raw=raw, decoding_plugin="pillow" if syntax == BASELINE else "")


def windowed(values, centre: float, width: float, function: str):
    """PS3.3 C.11.2.1.2 and C.11.2.1.3 with an output of [0, 1]."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def looked_up(values, item):
    """The value through a LUT item, C.11.1.1 and C.11.2.1.1: below the first entry the first, above the last the last."""
    entries, first, bits = item.LUTDescriptor
    entries = entries or 65536
    data = item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if len(data) >= 2 * entries else "u1")
    table = np.asarray(data, dtype=np.float64)[:entries]
    place = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return table[place]


def padding(ds, stored):
    """True where a stored value is padding (C.7.5.1.1.2): one value, or the range up to the limit."""
    if "PixelPaddingValue" not in ds:
        return np.zeros(stored.shape, bool)
    low = high = int(ds.PixelPaddingValue)
    if "PixelPaddingRangeLimit" in ds:
        low, high = sorted((low, int(ds.PixelPaddingRangeLimit)))
    return (stored >= low) & (stored <= high)


def nth(value, number: int) -> float:
    return float(value[number] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)


def against_pydicom(ds, modality, voi, number: int) -> float:
    """Greatest difference from pydicom's windowing, both on [0, 1]; its output range follows the stored bits."""
    theirs = np.asarray(apply_windowing(modality, ds, index=number), dtype=np.float64)
    if "ModalityLUTSequence" in ds:
        bits, low = ds.ModalityLUTSequence[0].LUTDescriptor[2], 0
    else:
        bits = ds.BitsStored
        low = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
    span = 2**bits - 1
    if "RescaleSlope" in ds:
        low, span = low * float(ds.RescaleSlope) + float(ds.RescaleIntercept), span * float(ds.RescaleSlope)
    return float(np.abs((theirs - low) / span - voi).max())


def grey(ds, stored, number: int):
    note = {}
    if ds.get("ModalityLUTSequence"):
        # pydicom knows LUTs of 8 and 16 bits alone.
        modality = looked_up(stored, ds.ModalityLUTSequence[0])
        if ds.ModalityLUTSequence[0].LUTDescriptor[2] in (8, 16):
            assert (modality == apply_modality_lut(stored, ds)).all()
    else:
        modality = np.asarray(apply_modality_lut(stored, ds), dtype=np.float64)
    if ds.get("VOILUTSequence"):
        item = ds.VOILUTSequence[0]
        voi, note["rule"] = looked_up(modality, item) / (2 ** item.LUTDescriptor[2] - 1), "lut"
    elif ds.get("WindowCenter") is not None and ds.get("WindowWidth") is not None:
        function = str(ds.get("VOILUTFunction") or "LINEAR").upper()
        voi = windowed(modality, nth(ds.WindowCenter, number), nth(ds.WindowWidth, number), function)
        note["rule"] = function
        note["differs_from_pydicom"] = against_pydicom(ds, modality, voi, number)
    else:
        pad = padding(ds, stored)
        shown = modality[~pad] if (~pad).any() else modality
        low, high = shown.min(), shown.max()
        voi = np.clip((modality - low) / ((high - low) or 1), 0, 1)
        voi[pad] = 0
        note["rule"] = "spread"
    render = np.floor(voi * 255 + 0.5).astype(np.uint8)
    return modality, voi, 255 - render if ds.PhotometricInterpretation == "MONOCHROME1" else render, note


def colour(ds, stored):
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        rgb = apply_color_lut(stored, ds)
        return (rgb >> 8).astype(np.uint8) if rgb.dtype.itemsize == 2 else rgb
    rgb = pixel_array(ds, raw=False)  # as RGB, whether the codec or pydicom converts
    return (rgb.astype(np.uint64) >> (ds.BitsStored - 8)).astype(np.uint8) if ds.BitsStored > 8 else rgb.astype(np.uint8)


def write(file: Path, out: Path, number: int) -> dict:
    ds = pydicom.dcmread(file, force=True)
    if "TransferSyntaxUID" not in ds.file_meta and None not in ds.original_encoding:
        ds.file_meta.TransferSyntaxUID = BARE[ds.original_encoding]
    stored = pixel_array(ds, raw=True)
    steps, note = {"stored": stored}, {}
    if ds.SamplesPerPixel == 1 and ds.PhotometricInterpretation != "PALETTE COLOR":
        steps["modality"], steps["voi"], steps["render"], note = grey(ds, stored, number)
    else:
        steps["render"] = colour(ds, stored)
    for step, array in steps.items():
        np.save(out / f"{file.stem}.{step}.npy", np.ascontiguousarray(array), allow_pickle=False)
    return note | {step: [list(array.shape), array.dtype.str] for step, array in steps.items()}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("files", type=Path, nargs="+")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--window", type=int, default=0)
    options = arguments.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    options.out.mkdir(parents=True, exist_ok=True)
    worst = 0
    for file in options.files:
        try:
            line = write(file, options.out, options.window)
            if line.get("differs_from_pydicom", 0) > 1e-9:
                worst = 1
        except Exception as error:  # noqa: BLE001 - the class alone: a message may quote the file
            line = {"error": type(error).__name__}
        print(json.dumps({"file": str(file)} | line))
    return worst


if __name__ == "__main__":
    sys.exit(main())
