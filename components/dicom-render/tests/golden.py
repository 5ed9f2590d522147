#!/usr/bin/env python3
"""Judges the renderer by pydicom and numpy, and writes the values that `cargo test` compares with.

    golden.py judge DUMP FILE...    compares what `cargo run --example dump` left in the folder DUMP; a line a file
    golden.py write > golden/values.txt    makes the committed values for tests/fixtures/dicom

References: stored and modality values by pydicom; windows by the formulas of tests/oracle/render_reference.py; the
percentiles of an image without a window by numpy; tensors by components/classify/model/recipe.py. First frame only.
Needs tests/oracle/requirements.txt. The share of pixels further than a grey level away is in the line.
"""

import hashlib
import importlib.util
import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom

ROOT = Path(__file__).resolve().parents[3]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = load(ROOT / "tests/oracle/render_reference.py")
pixel_array = oracle.pixel_array
recipe_of = load(ROOT / "components/classify/model/recipe.py")
RECIPE = json.loads((ROOT / "components/classify/model/recipe.json").read_text())


class NoPixels(Exception):
    """The object has none: nothing is to be rendered."""


def functional(ds, keyword: str, item: str):
    """A functional group of the first frame, PS3.3 C.7.6.16."""
    for groups in (ds.get("PerFrameFunctionalGroupsSequence"), ds.get("SharedFunctionalGroupsSequence")):
        if groups and item in groups[0] and keyword in groups[0][item].value[0]:
            return groups[0][item].value[0][keyword].value
    return None


def reference(file: Path) -> dict[str, np.ndarray]:
    ds = pydicom.dcmread(file, force=True)
    if "PixelData" not in ds:
        raise NoPixels
    if "TransferSyntaxUID" not in ds.file_meta and None not in ds.original_encoding:
        ds.file_meta.TransferSyntaxUID = oracle.BARE[ds.original_encoding]
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        value = functional(ds, keyword, "PixelValueTransformationSequence")
        if value is not None:
            setattr(ds, keyword, value)
    for keyword in ("WindowCenter", "WindowWidth"):
        value = functional(ds, keyword, "FrameVOILUTSequence")
        if value is not None:
            setattr(ds, keyword, value)
    grey = ds.SamplesPerPixel == 1 and ds.PhotometricInterpretation != "PALETTE COLOR"
    if not grey:
        rgb = oracle.colour(ds, first(pixel_array(ds, raw=True), ds))
        rgb = first(rgb, ds)
        weights = np.array([19595, 38470, 7471], np.uint64)
        luminance = (rgb.astype(np.uint64) @ weights + 128) >> np.uint64(8)
        return {"preview": rgb, "tensor": recipe_of.normalise(
            luminance.astype(np.int64), 1 / 256, 0.0, bits_stored=16, signed=False, recipe=RECIPE)}
    stored = first(pixel_array(ds, raw=True), ds)
    signed, inverted = bool(ds.PixelRepresentation), ds.PhotometricInterpretation == "MONOCHROME1"
    shift = ds.get("HighBit", ds.BitsStored - 1) + 1 - ds.BitsStored
    bits = recipe_of.stored_values(stored >> shift if shift else stored, ds.BitsStored, signed)
    modality, voi, render, note = oracle.grey(ds, bits, 0)
    pad = recipe_of.padding_mask(bits, padding_of(ds), ds.BitsStored, signed)
    if note["rule"] == "spread":
        shown = modality[~pad]
        low, high = np.percentile(shown, [0.5, 99.5]) if shown.size else (0, 0)
        if ds.BitsStored == 1:
            low, high = 0, 1
        voi = np.clip((modality - low) / (high - low), 0, 1) if high > low else np.zeros(modality.shape)
        render = np.floor(255 * (1 - voi if inverted and high > low else voi) + 0.5).astype(np.uint8)
    render[pad] = 0
    slope, intercept = (float(ds.get(key, default)) for key, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    found = {"modality": modality, "preview": render}
    if not ds.get("ModalityLUTSequence"):
        found["tensor"] = recipe_of.normalise(
            bits, slope, intercept, padding_of(ds), inverted, bits_stored=ds.BitsStored, signed=signed, recipe=RECIPE)
    return found


def padding_of(ds):
    if "PixelPaddingValue" not in ds:
        return None
    value = int(ds.PixelPaddingValue)
    return (value, int(ds.PixelPaddingRangeLimit)) if "PixelPaddingRangeLimit" in ds else value


def first(array: np.ndarray, ds) -> np.ndarray:
    return array[0] if int(ds.get("NumberOfFrames") or 1) > 1 else array


TYPES = {"modality": "<f8", "preview": "u1", "tensor": "<f4"}


def judge(dump: Path, file: Path) -> str:
    try:
        expected = reference(file)
    except NoPixels:
        made = (dump / f"{file.name}.preview").exists()
        return "WRONG: rendered without pixels" if made else "no pixels"
    except Exception as error:  # noqa: BLE001 - the class alone
        made = (dump / f"{file.name}.preview").exists()
        return f"pydicom gives {type(error).__name__}, we {'render' if made else 'refuse'}"
    if not (dump / f"{file.name}.preview").exists():
        return "refused by us"
    words = []
    for step, kind in TYPES.items():
        if step not in expected:
            continue
        theirs = expected[step].ravel().astype(np.float64)
        ours = np.fromfile(dump / f"{file.name}.{step}", kind).astype(np.float64)
        if ours.shape != theirs.shape:
            return f"differs: {step} of another size, {ours.size} for {theirs.size}"
        far = np.abs(ours - theirs)
        if step == "preview":
            words.append("preview equal" if not far.any() else f"preview ±{far.max():.0f}, {(far > 1).mean():.4%} over 1")
        elif step == "modality":
            words.append("modality equal" if not far.any() else f"modality DIFFERS by {far.max():g}")
        else:
            words.append(f"tensor {far.max():.1e}")
    return "; ".join(words)


SAMPLES = 61


def sampled(array: np.ndarray) -> np.ndarray:
    """Pixels spread over the image: number k * size // SAMPLES."""
    flat = array.ravel()
    return flat[[k * flat.size // SAMPLES for k in range(SAMPLES)]]


def write() -> None:
    print("# Made by components/dicom-render/tests/golden.py write. One line a step and file:")
    print("# modality: SHA-256 of all values as little-endian f64; preview and tensor: values at k * size // 61")
    folder = ROOT / "tests/fixtures/dicom"
    for file in sorted([*folder.glob("*.dcm"), *folder.glob("made/*.dcm")]):
        name = file.relative_to(folder).as_posix()
        try:
            steps = reference(file)
        except Exception:  # noqa: BLE001 - refusals have a test of their own
            continue
        if "modality" in steps:
            digest = hashlib.sha256(steps["modality"].astype("<f8").tobytes()).hexdigest()
            print(name, "modality", digest)
        print(name, "preview", steps["preview"].size, *sampled(steps["preview"]))
        if "tensor" in steps:
            print(name, "tensor", steps["tensor"].size, *(f"{value:.7g}" for value in sampled(steps["tensor"])))


def main() -> int:
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["judge", dump, *files]:
            for file in map(Path, files):
                print(f"{file.name}\t{judge(Path(dump), file)}")
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
