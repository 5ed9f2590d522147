#!/usr/bin/env python3
"""Judges what `martello run` made of DICOM files with a renderer's bundle, by pydicom, numpy and DCMTK.

    render_check.py sort INPUT FOLDER           copies the grey files into FOLDER/ROWSxCOLUMNS/in; prints the sizes
    render_check.py shown INPUT OUTPUT RECIPE   previews and tensors
    render_check.py decoded FOLDER              modality values: FOLDER/*/in and FOLDER/*/out, where each run had the
                                                window 0 +- 2^17, linear-exact, and the size of its files

INPUT holds the files, OUTPUT what the run wrote (`report.jsonl`, `previews/`, `tensors/`). One JSON line leaves for each
file that both sides render: the greatest difference of each step. A file with no line, or without a step, was not
compared; whoever calls counts. First frames only.

    preview     grey levels; reference: components/dicom-render/tests/golden.py
    dcmtk       grey levels; the same window given to dcmj2pnm; padding, which DCMTK shows, is left out
    tensor      reference: components/classify/model/recipe.py
    modality    pydicom's values against those that the tensor still holds
"""

import importlib.util
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SPAN = 2.0**18


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = load(ROOT / "components/dicom-render/tests/golden.py")


def grey_size(file: Path):
    ds = pydicom.dcmread(file, force=True, stop_before_pixels=True)
    if ds.get("SamplesPerPixel") != 1 or ds.PhotometricInterpretation == "PALETTE COLOR" or max(ds.Rows, ds.Columns) > 4096:
        return None
    return f"{ds.Rows}x{ds.Columns}"


def sort(folder: Path, out: Path) -> None:
    sizes = {}
    for file in sorted(folder.rglob("*.dcm")):
        try:
            size = grey_size(file)
        except Exception:  # noqa: BLE001 - what has no size is nothing to decode
            size = None
        if size:
            sizes.setdefault(size, []).append(file)
    for size, files in sizes.items():
        (out / size / "in").mkdir(parents=True)
        for file in files:
            shutil.copy(file, out / size / "in")
        print(size)


def outputs(output: Path):
    """Input name and the first file of each folder."""
    for line in map(json.loads, (output / "report.jsonl").read_text().splitlines()):
        if line["outcome"] == "done":
            found = {}
            for file in line["outputs"]:
                found.setdefault(file["path"].split("/")[0], output / file["path"])
            yield line["input"], found


def dcmtk(file: Path, ds, steps) -> np.ndarray | None:
    """The frame as dcmj2pnm shows it in the window that we used; None where it cannot decode the file."""
    if ds.SamplesPerPixel > 1 or ds.PhotometricInterpretation == "PALETTE COLOR":
        window = []
    elif ds.get("VOILUTSequence"):
        window = ["+Wl", "1"]
    elif steps["window"] is not None:
        centre, width, function = steps["window"]
        if function == "LINEAR_EXACT":  # DCMTK 3.6.7 does not have it: the same line as a LINEAR window
            centre, width = centre + 0.5, width + 1
        window = ["+Wfs" if function == "SIGMOID" else "+Wfl", "+Ww", repr(float(centre)), repr(float(width))]
    else:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "frame.pnm")
        ended = subprocess.run(["dcmj2pnm", "-q", "-O", *window, file, out], capture_output=True, check=False)
        if ended.returncode or not out.exists():
            return None
        return np.asarray(Image.open(out))


def window_of(ds, file: Path):
    """Centre, width and function, whoever asked for them."""
    for keyword in ("WindowCenter", "WindowWidth"):
        value = golden.functional(ds, keyword, "FrameVOILUTSequence")
        if value is not None:
            setattr(ds, keyword, value)
    if ds.get("WindowCenter") is not None and ds.get("WindowWidth") is not None:
        centre, width = golden.oracle.nth(ds.WindowCenter, 0), golden.oracle.nth(ds.WindowWidth, 0)
        return centre, width, str(ds.get("VOILUTFunction") or "LINEAR").upper()
    values = golden.reference(file)["modality"]
    pad = padding(ds, file)
    low, high = np.percentile(values[~pad], [0.5, 99.5]) if (~pad).any() else (0, 0)
    return ((low + high) / 2 + 0.5, high - low + 1, "LINEAR") if high > low and ds.BitsStored > 1 else None


def padding(ds, file: Path) -> np.ndarray:
    whole = pydicom.dcmread(file, force=True)
    if "TransferSyntaxUID" not in whole.file_meta and None not in whole.original_encoding:
        whole.file_meta.TransferSyntaxUID = golden.oracle.BARE[whole.original_encoding]
    stored = golden.first(golden.pixel_array(whole, raw=True), whole)
    signed = bool(ds.PixelRepresentation)
    bits = golden.recipe_of.stored_values(stored, ds.BitsStored, signed)
    return golden.recipe_of.padding_mask(bits, golden.padding_of(ds), ds.BitsStored, signed)


def farthest(ours, theirs) -> float:
    ours, theirs = (np.asarray(array, np.float64) for array in (ours, theirs))
    return float(np.abs(ours.ravel() - theirs.ravel()).max()) if ours.size == theirs.size else float("inf")


def shown(file: Path, found: dict) -> dict:
    expected = golden.reference(file)
    ds = pydicom.dcmread(file, force=True, stop_before_pixels=True)
    grey = ds.SamplesPerPixel == 1 and ds.PhotometricInterpretation != "PALETTE COLOR"
    preview = np.asarray(Image.open(found["previews"]))
    line = {"preview": farthest(preview, expected["preview"])}
    if "tensor" in expected:
        line["tensor"] = farthest(np.fromfile(found["tensors"], "<f4"), expected["tensor"])
    theirs = dcmtk(file, ds, {"window": window_of(ds, file) if grey and not ds.get("VOILUTSequence") else None})
    if theirs is not None:
        kept = ~padding(ds, file) if grey else np.ones(preview.shape, bool)
        same_size = theirs.shape == preview.shape
        line["dcmtk"] = farthest(preview[kept], theirs[kept]) if same_size else float("inf")
    return line


def decoded(file: Path, found: dict) -> dict:
    ds = pydicom.dcmread(file, force=True, stop_before_pixels=True)
    expected = golden.reference(file)["modality"]
    kept = ~padding(ds, file)
    ours = np.fromfile(found["tensors"], "<f4").reshape(expected.shape)[kept]
    theirs = expected[kept]
    if theirs.size and np.abs(theirs).max() >= SPAN / 2:
        return {}  # beyond the window (doses of 32 bits)
    # Whole numbers come back whole; others are compared as the f32 that they must become.
    if (theirs == np.rint(theirs)).all():
        return {"modality": farthest((ours.astype(np.float64) - 0.5) * SPAN, theirs)}
    return {"modality": farthest(ours, (theirs / SPAN + 0.5).astype(np.float32))}


def judge(compare, folder: Path, output: Path) -> None:
    for name, found in outputs(output):
        try:
            line = compare(folder / name, found)
        except golden.NoPixels:
            continue
        except Exception as error:  # noqa: BLE001 - the class alone: a message may quote the file
            line = {"error": type(error).__name__}
        print(json.dumps({"file": name} | line))


def main() -> int:
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    match sys.argv[1:]:
        case ["sort", folder, out]:
            sort(Path(folder), Path(out))
        case ["shown", folder, output, recipe]:
            golden.RECIPE = json.loads(Path(recipe).read_text())
            judge(shown, Path(folder), Path(output))
        case ["decoded", folder]:
            for size in sorted(Path(folder).iterdir()):
                judge(decoded, size / "in", size / "out")
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
