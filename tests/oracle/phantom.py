"""Ellipse phantoms for the made fixtures: heads, a chest, an abdomen, in Hounsfield units or MR signal.

Drawn after nobody: the shapes and levels are ours, chosen to look like what they stand for at a glance.
"""

import numpy as np
from PIL import Image

SIZE = 256


def ellipses(parts, size=SIZE):
    """Paints (value, centre x, centre y, half axes a, b, degrees) in order, in [-1, 1], twice oversampled."""
    fine = size * 2
    axis = (np.arange(fine) + 0.5) / fine * 2 - 1
    x, y = np.meshgrid(axis, axis)
    image = np.full((fine, fine), float(parts[0]))
    for value, cx, cy, a, b, degrees in parts[1:]:
        t = np.radians(degrees)
        u = (x - cx) * np.cos(t) + (y - cy) * np.sin(t)
        v = -(x - cx) * np.sin(t) + (y - cy) * np.cos(t)
        image[(u / a) ** 2 + (v / b) ** 2 <= 1] = value
    return image.reshape(size, 2, size, 2).mean(axis=(1, 3))


def grain(size, seed, sigma, coarse):
    """Fine noise on a coarse, smooth texture, so that a phantom does not look like a cartoon."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.normal(0, 1, (size // 16, size // 16)).astype(np.float32))
    smooth = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), dtype=float)
    return random.normal(0, sigma, (size, size)) + smooth * coarse


def head(skull, scalp, grey, white, fluid, lesion, outside, shift=0.0):
    s = shift
    return ellipses([
        outside,
        (scalp, 0, 0, 0.72, 0.90, 0), (skull, 0, 0, 0.67, 0.85, 0), (fluid, 0, 0, 0.61, 0.79, 0),
        (grey, 0, 0, 0.59, 0.77, 0), (white, -0.27, -0.02, 0.25, 0.62, 4), (white, 0.27, -0.02, 0.25, 0.62, -4),
        (grey, -0.30, 0.38, 0.13, 0.18, 20), (grey, 0.30, 0.38, 0.13, 0.18, -20),
        (fluid, -0.10, -0.12 + s, 0.06, 0.24, 14), (fluid, 0.10, -0.12 + s, 0.06, 0.24, -14),
        (grey, -0.17, 0.10, 0.08, 0.13, -20), (grey, 0.17, 0.10, 0.08, 0.13, 20), (fluid, 0, 0.13, 0.015, 0.10, 0),
        (fluid, 0, 0.50, 0.07, 0.05, 0), (lesion, 0.33, -0.30, 0.09, 0.07, 30),
    ])


def ct_head(shift=0.0, seed=1):
    hu = head(skull=1050, scalp=60, grey=38, white=29, fluid=8, lesion=72, outside=-1000, shift=shift)
    return hu + grain(SIZE, seed, 4, 2) * (hu > -900)


def ct_chest():
    hu = ellipses([
        -1000, (-90, 0, 0.02, 0.92, 0.66, 0), (45, 0, 0.02, 0.86, 0.60, 0),
        (-830, -0.43, -0.02, 0.33, 0.47, 6), (-830, 0.43, -0.02, 0.33, 0.47, -6),
        (45, 0.08, -0.12, 0.25, 0.23, 30), (120, 0.12, -0.10, 0.15, 0.14, 30), (110, 0.02, 0.22, 0.07, 0.07, 0),
        (300, 0, 0.40, 0.13, 0.11, 0), (15, 0, 0.53, 0.04, 0.035, 0), (400, 0, -0.56, 0.10, 0.025, 0),
        *[(520, 0.80 * np.cos(t), 0.02 + 0.55 * np.sin(t), 0.055, 0.022, np.degrees(t) + 90)
          for t in np.radians([20, 55, 125, 160, 200, 235, 305, 340])],
        (60, -0.52, 0.12, 0.045, 0.04, 0),
        *[(-20, 0.43 + dx, dy, 0.012, 0.03, 30) for dx, dy in ((-0.1, -0.1), (0.05, 0.12), (0.1, -0.2), (-0.12, 0.2))],
    ])
    return hu + grain(SIZE, 2, 12, 8) * (hu > -950)


def ct_abdomen():
    hu = ellipses([
        -1000, (-105, 0, 0, 0.92, 0.68, 0), (52, 0, 0, 0.82, 0.58, 0), (-95, 0, 0, 0.76, 0.52, 0),
        (112, -0.34, -0.12, 0.38, 0.33, 18), (105, 0.52, 0.02, 0.17, 0.26, -12), (20, 0.22, -0.22, 0.22, 0.14, 10),
        (175, -0.36, 0.24, 0.12, 0.15, 12), (175, 0.36, 0.24, 0.12, 0.15, -12), (40, -0.33, 0.24, 0.05, 0.07, 12),
        (40, 0.33, 0.24, 0.05, 0.07, -12), (200, 0.05, 0.18, 0.06, 0.06, 0), (150, -0.08, 0.17, 0.06, 0.05, 0),
        (260, 0, 0.36, 0.13, 0.10, 0), (18, 0, 0.48, 0.035, 0.03, 0), (58, -0.19, 0.46, 0.15, 0.07, -8),
        (58, 0.19, 0.46, 0.15, 0.07, 8), (35, -0.46, -0.10, 0.07, 0.06, 0), (-850, 0.24, -0.30, 0.10, 0.04, 0),
    ])
    return hu + grain(SIZE, 3, 9, 5) * (hu > -950)


def mr_head(weighting, seed):
    levels = {
        "T1": dict(skull=180, scalp=1650, grey=720, white=1050, fluid=260, lesion=480, outside=0),
        "T2": dict(skull=120, scalp=900, grey=860, white=620, fluid=1900, lesion=1450, outside=0),
        "FLAIR": dict(skull=110, scalp=980, grey=820, white=660, fluid=150, lesion=1500, outside=0),
    }[weighting]
    signal = head(**levels)
    axis = np.linspace(-1, 1, SIZE)
    coil = 1.06 - 0.12 * axis[None, :] ** 2 + 0.05 * axis[:, None]
    random = np.random.default_rng(seed)
    rician = np.hypot(signal * coil + grain(SIZE, seed, 14, 12) * (signal > 0), random.normal(0, 14, (SIZE, SIZE)))
    return np.clip(rician, 0, 4095)
