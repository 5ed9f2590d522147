"""What the model says of the CT and MR files that ship in the pydicom package: an outlook, not a benchmark.

    pip install -r requirements.txt pydicom==3.0.2 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0
    python real_files.py [--model FILE]

None of these files is trained on. Only three of them show a whole upright field; those are also turned, inverted
and robbed of lines, so that the right answer is known. The 16 x 16 thumbnails of its DICOMDIR tests are left out.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data

from recipe import load_recipe, normalise
from train import HERE, NAME, probabilities, run_onnx

WHOLE_FIELD = {
    "693_J2KI.dcm": "CT head, axial, in its holder",
    "J2K_pixelrep_mismatch.dcm": "CT head base, axial",
    "examples_overlay.dcm": "MR abdomen, axial",
}
# Crops of a larger field, or not CT or MR: no answer of the five is right, so the score should be low.
OUT_OF_DISTRIBUTION = {
    "CT_small.dcm": "CT spine, a crop of 128 x 128",
    "MR_small.dcm": "MR, a crop of 64 x 64",
    "JPEG2000.dcm": "nuclear medicine, whole body",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, default=HERE / f"{NAME}.onnx")
    model = options.parse_args().model
    manifest = json.loads((model.parent / "model.json").read_text())
    folder = Path(pydicom.data.__file__).parent / "test_files"
    warnings.filterwarnings("ignore", module="pydicom")

    right = asked = 0
    for name, what in (WHOLE_FIELD | OUT_OF_DISTRIBUTION).items():
        dataset = pydicom.dcmread(folder / name)
        pixels = dataset.pixel_array
        print(f"{name} ({what})")
        for variant, expected, changed in variants(pixels) if name in WHOLE_FIELD else [("as it is", None, pixels)]:
            answer, score = classify(model, manifest, dataset, changed)
            asked, right = asked + (expected is not None), right + (answer == expected)
            print(f"  {variant:18} {answer:10} {score:.3f}" + ("" if answer == expected or not expected else f"  expected {expected}"))
    print(f"{right} of {asked} right on variants of whole fields")


def variants(pixels: np.ndarray):
    low, high = pixels.min(), pixels.max()
    yield "as it is", "fine", pixels
    for turns in (1, 2, 3):
        yield f"turned by {90 * turns}", "rotated", np.rot90(pixels, turns)
    yield "inverted", "inverted", (int(low) + int(high) - pixels.astype(np.int32)).astype(pixels.dtype)
    tail = pixels.copy()
    tail[int(len(tail) * 0.6) :] = low
    yield "last 40 % lost", "truncated", tail
    band = pixels.copy()
    band[int(len(band) * 0.4) : int(len(band) * 0.6)] = low
    yield "20 % within lost", "truncated", band


def classify(model: Path, manifest: dict, dataset, pixels: np.ndarray) -> tuple[str, float]:
    """The answer and its calibrated score. The decoder has already masked and signed the pixels."""
    tensor = normalise(
        pixels,
        float(dataset.get("RescaleSlope", 1)),
        float(dataset.get("RescaleIntercept", 0)),
        dataset.get("PixelPaddingValue"),
        dataset.PhotometricInterpretation == "MONOCHROME1",
        bits_stored=pixels.dtype.itemsize * 8,
        signed=pixels.dtype.kind == "i",
        recipe=load_recipe(),
    )
    calibrated = probabilities(run_onnx(model, tensor), manifest["calibration"]["temperature"])[0]
    return manifest["labels"][int(calibrated.argmax())], float(calibrated.max())


if __name__ == "__main__":
    main()
