"""Phantoms with the four acquisition defects, and the splits that the model is trained and measured on.

Nothing here is taken from a patient. Every sample is a function of (seed, split, index) alone.
"""

from dataclasses import replace

import numpy as np

from anatomy import FAMILIES
from field import Field, Parameters, Phantom, store, table

LABELS = ("fine", "blank", "truncated", "rotated", "inverted")
SEEN_FAMILIES = ("head_axial", "body_axial", "head_sagittal", "chest", "knee", "hand")
TRAINING = Parameters(SEEN_FAMILIES)
# Held-out phantoms leave the training ranges on purpose: other sizes, more noise, tilt, shading and irregularity.
HELD_OUT = Parameters(
    SEEN_FAMILIES, side=(160, 230), fill=(0.56, 1.06), shift=0.09, tilt=11.0, noise=(0.01, 0.07),
    bias=0.5, wobble=0.06, gamma=(0.6, 1.6), lost=(0.14, 0.65), window_share=0.6,
)
UNSEEN_FAMILY = replace(HELD_OUT, families=("pelvis",))


def draw_group(seed: tuple[int, ...], parameters: Parameters, recipe: dict) -> np.ndarray:
    """One sample of each class, f32 of shape (5, 1, height, width), in the order of LABELS.

    Four of the five show the same phantom, so that only the defect tells them apart.
    """
    rng = np.random.default_rng(seed)
    fine = draw(rng, parameters)
    samples = (
        fine,
        blank(rng, parameters),
        truncated(rng, fine, parameters),
        replace(fine, stored=np.rot90(fine.stored, rng.integers(1, 4))),
        inverted(fine),
    )
    return np.concatenate([sample.tensor(recipe) for sample in samples])


def draw(rng: np.random.Generator, parameters: Parameters) -> Phantom:
    """One upright phantom without defect."""
    return FAMILIES[str(rng.choice(parameters.families))](rng, parameters)


def inverted(fine: Phantom) -> Phantom:
    stored = fine.stored.astype(np.int64)
    is_padding = np.zeros(stored.shape, bool) if fine.padding is None else stored == fine.padding
    measured = stored[~is_padding]
    flipped = np.where(is_padding, stored, measured.min() + measured.max() - stored)
    return replace(fine, stored=flipped.astype(fine.stored.dtype))


def truncated(rng: np.random.Generator, fine: Phantom, parameters: Parameters) -> Phantom:
    """Lines or columns lost (at an edge or within) or the field cut short, so that the anatomy visibly suffers."""
    for _ in range(50):
        along = int(rng.random() < 0.35)  # mostly lines, as when a transfer stops early
        length = fine.stored.shape[along]
        share = rng.uniform(*parameters.lost)
        taken = int(length * share)
        way = rng.choice(["edge", "edge", "edge", "band", "band", "cut"])
        if way == "band":
            taken = int(length * min(share, 0.35))
            start = int(rng.integers(length // 10, max(length - taken - length // 10, length // 10 + 1)))
        else:
            taken = int(length * max(share, 0.4)) if way == "cut" else taken
            # A stopped transfer loses the end; a detector or a shutter may lose either side.
            start = length - taken if rng.random() < 0.7 else 0
        gone = np.zeros(length, bool)
        gone[start : start + taken] = True
        suffering = np.compress(gone, fine.body, axis=along).sum() / max(fine.body.sum(), 1.0)
        if suffering < (0.35 if way == "cut" else 0.10) or suffering > 0.85:
            continue
        if way == "cut":
            return replace(fine, stored=np.compress(~gone, fine.stored, axis=along))
        stored = np.moveaxis(fine.stored.copy(), along, 0)
        low, high = int(stored.min()), int(stored.max())
        filling = rng.choice(["low", "low", "middle", "high", "repeat", "noise"])
        if filling == "repeat":
            stored[gone] = stored[start - 1 if start > 0 else min(start + taken, length - 1)]
        elif filling == "noise":
            stored[gone] = rng.integers(low, high + 1, stored[gone].shape)
        else:
            stored[gone] = {"low": low, "middle": rng.integers(low, high + 1), "high": high}[str(filling)]
        return replace(fine, stored=np.moveaxis(stored, 0, along))
    # The anatomy fills too little of the field for any of these: lose its lower half.
    rows = np.flatnonzero(fine.body.sum(axis=1))
    stored = fine.stored.copy()
    stored[int(rows.mean()) :] = stored.min()
    return replace(fine, stored=stored)


def blank(rng: np.random.Generator, parameters: Parameters) -> Phantom:
    """A field without anatomy: constant, noise, shading, an empty collimated or circular field, a bare table."""
    field = Field(rng, parameters)
    image = np.full(field.u.shape, 0.5, np.float32)
    if rng.random() < 0.12:
        return store(rng, field, image, np.zeros_like(image), "radiograph")
    if rng.random() < 0.5:
        image += rng.uniform(0.02, 0.5) * (field.shading(rng, 1.0) - 1.0)
    if rng.random() < 0.4:
        field.collimate(rng, image)
    modality = "radiograph"
    if rng.random() < 0.3:
        modality = "ct"
        image[:] = 0.0
        if rng.random() < 0.6:
            table(rng, field, image)
    grain = field.grain(rng)
    image += rng.uniform(0.005, 0.4) * grain
    if rng.random() < 0.3:  # what a magnitude image of nothing looks like
        image = np.hypot(grain, field.grain(rng)) * 0.2
    if rng.random() < 0.15:
        field.marker(rng, image, image.max() - image.min())
    return store(rng, field, image, np.zeros_like(image), modality)
