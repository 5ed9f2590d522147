"""Reference of the normalisation recipe: stored pixels in, model input out.

The host implements the same recipe in Rust; this copy is what its tests are compared with, so every step
is stated exactly. All arithmetic is f64 until the last line. Order of the steps:

1. stored bits: the low `bits_stored` bits, sign-extended when `signed`;
2. modality: stored * slope + intercept;
3. padding: pixels equal to the padding value (or inside the inclusive padding range) take no part in any
   statistic. Once step 4 is done they take the minimum of the other pixels, so they are always black;
4. MONOCHROME1: m becomes (smallest + largest) - m, over the pixels that are not padding;
5. window: clip to percentiles, or one of the functions of DICOM PS3.3 C.11.2.1;
6. resample to height x width: columns first, then rows, see `triangle_weights`;
7. scale: to [0, 1], then optionally (x - mean) / deviation; f32, NCHW.

An image whose percentile range is empty (constant, or nothing but padding) gives zeros, whatever the scale.
"""

import json
from pathlib import Path

import numpy as np


def load_recipe(path: Path = Path(__file__).with_name("recipe.json")) -> dict:
    """Read a recipe and refuse one that this reference does not know."""
    recipe = json.loads(path.read_text())
    if recipe["schema"] != 1:
        raise ValueError(f"recipe schema {recipe['schema']} is not 1")
    return recipe


def normalise(
    stored_pixels: np.ndarray,
    slope: float,
    intercept: float,
    padding: int | tuple[int, int] | None = None,
    monochrome1: bool = False,
    *,
    bits_stored: int,
    signed: bool,
    recipe: dict,
) -> np.ndarray:
    """Turn one frame of stored pixels, shape (rows, columns), into f32 of shape (1, 1, height, width).

    `padding` is a stored value as the header gives it, or an inclusive range (value, range limit) in either order.
    """
    if recipe["layout"] != "nchw" or recipe["dtype"] != "f32":
        raise ValueError("only layout nchw and dtype f32 are known")
    resample = recipe["resample"]
    if resample["filter"] != "triangle" or resample["fit"] != "stretch":
        raise ValueError("only the triangle filter and the stretch fit are known")
    height, width = resample["height"], resample["width"]
    zeros = np.zeros((1, 1, height, width), np.float32)

    stored = stored_values(stored_pixels, bits_stored, signed)
    is_padding = padding_mask(stored, padding, bits_stored, signed)
    measured = ~is_padding
    if not measured.any():
        return zeros

    modality = stored.astype(np.float64) * np.float64(slope) + np.float64(intercept)
    if monochrome1 and recipe["invert_monochrome1"]:
        modality = (modality[measured].min() + modality[measured].max()) - modality
    modality[is_padding] = modality[measured].min()

    window = recipe["window"]
    if "percentiles" in window:
        low, high = np.percentile(modality[measured], window["percentiles"], method="linear")
        if not high > low:
            return zeros
        resized = resize(np.clip(modality, low, high), height, width)
        unit = (resized - low) / (high - low)
    else:
        shown = apply_window(modality, window["center"], window["width"], window["function"])
        unit = resize(shown, height, width)

    # Weights sum to one only up to rounding, so a value may leave [0, 1] by one unit in the last place.
    scaled = np.clip(unit, 0.0, 1.0)
    if recipe["scale"] != "unit":
        scaled = (scaled - recipe["scale"]["mean"]) / recipe["scale"]["deviation"]
    return scaled.astype(np.float32).reshape(1, 1, height, width)


def stored_values(raw: np.ndarray, bits_stored: int, signed: bool) -> np.ndarray:
    """The low `bits_stored` bits of each word as i64; what stands above them (overlays, rubbish) is dropped.

    The high bit is `bits_stored - 1`: a caller with another HighBit shifts first.
    """
    if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.integer) or not 1 <= bits_stored <= 32:
        raise ValueError("stored pixels are two-dimensional integers of 1 to 32 bits")
    low_bits = raw.astype(np.int64) & ((1 << bits_stored) - 1)
    if signed:
        sign = 1 << (bits_stored - 1)
        low_bits = (low_bits ^ sign) - sign
    return low_bits


def padding_mask(
    stored: np.ndarray, padding: int | tuple[int, int] | None, bits_stored: int, signed: bool
) -> np.ndarray:
    """True where a pixel is padding. The header's value is read through the same bits as the pixels are."""
    if padding is None:
        return np.zeros(stored.shape, bool)
    limits = np.array([padding] if np.isscalar(padding) else list(padding), np.int64).reshape(1, -1)
    limits = stored_values(limits, bits_stored, signed)
    return (stored >= limits.min()) & (stored <= limits.max())


def apply_window(modality: np.ndarray, center: float, width: float, function: str) -> np.ndarray:
    """The window functions of DICOM PS3.3 C.11.2.1 with output range [0, 1]."""
    if function == "linear":
        if width < 1:
            raise ValueError("a linear window is at least 1 wide")
        middle, span = center - 0.5, width - 1.0
        below, above = modality <= middle - span / 2, modality > middle + span / 2
        inside = (modality - middle) / (span if span > 0 else 1.0) + 0.5
    elif function == "linear-exact":
        if width <= 0:
            raise ValueError("a linear-exact window is wider than 0")
        below, above = modality <= center - width / 2, modality > center + width / 2
        inside = (modality - center) / width + 0.5
    elif function == "sigmoid":
        if width <= 0:
            raise ValueError("a sigmoid window is wider than 0")
        with np.errstate(over="ignore"):  # exp overflows to infinity far below the window: the value is 0
            return 1.0 / (1.0 + np.exp(-4.0 * (modality - center) / width))
    else:
        raise ValueError(f"unknown window function {function}")
    return np.where(below, 0.0, np.where(above, 1.0, inside))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Separable triangle resampling of a (rows, columns) image to (height, width): columns first, then rows."""
    narrowed = image @ triangle_weights(image.shape[1], width).T
    return triangle_weights(image.shape[0], height) @ narrowed


def triangle_weights(source: int, target: int) -> np.ndarray:
    """Weights of shape (target, source), each row summing to one.

    align_corners=false: target pixel i is centred at (i + 0.5) * source / target, source pixel j at j + 0.5.
    The filter reaches max(source / target, 1) source pixels to each side; what falls outside the image is
    dropped and the rest normalised.
    """
    ratio = source / target
    support = max(ratio, 1.0)
    centres = (np.arange(target, dtype=np.float64)[:, None] + 0.5) * ratio
    distance = np.abs((np.arange(source, dtype=np.float64)[None, :] + 0.5) - centres) / support
    weights = np.maximum(1.0 - distance, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)
