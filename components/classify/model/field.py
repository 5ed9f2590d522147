"""The drawing surface: a pixel grid in body coordinates with soft brushes, and the way from drawing to stored pixels.

Body coordinates run u to the right and v down, with the anatomy within about one unit of the origin. What a phantom
may look like stands in `Parameters`; what anatomy is drawn stands in `anatomy.py`.
"""

import math
from dataclasses import dataclass

import numpy as np

from recipe import normalise, resize


@dataclass(frozen=True)
class Parameters:
    """What may vary between phantoms; each pair is a range drawn from uniformly."""

    families: tuple[str, ...]
    side: tuple[int, int] = (88, 168)  # pixels, each axis on its own
    fill: tuple[float, float] = (0.62, 1.02)  # anatomy's extent over the field's
    shift: float = 0.07  # of the field, to each side
    tilt: float = 8.0  # degrees, to each side
    noise: tuple[float, float] = (0.004, 0.05)  # of the grey range
    bias: float = 0.35  # strength of the slow shading
    wobble: float = 0.04  # irregularity of outlines
    gamma: tuple[float, float] = (0.7, 1.4)
    lost: tuple[float, float] = (0.18, 0.6)  # share of the lines that truncation takes
    window_share: float = 0.5  # images stored after a display window was burnt in


@dataclass(frozen=True)
class Phantom:
    """Stored pixels with the header values that the recipe needs; `body` marks the anatomy, 1 where it lies."""

    stored: np.ndarray
    body: np.ndarray
    slope: float
    intercept: float
    padding: int | None
    bits_stored: int
    signed: bool

    def tensor(self, recipe: dict) -> np.ndarray:
        return normalise(
            self.stored, self.slope, self.intercept, self.padding,
            bits_stored=self.bits_stored, signed=self.signed, recipe=recipe,
        )


class Field:
    """The pixel grid in body coordinates, with the brushes that every family uses."""

    def __init__(self, rng: np.random.Generator, parameters: Parameters, half: tuple[float, float] = (1.0, 1.0)):
        rows, columns = rng.integers(*parameters.side, 2)
        self.parameters = parameters
        # f32 throughout: drawing takes as long as training does, and half of it is memory traffic.
        across, down = np.linspace(-1, 1, columns, dtype=np.float32), np.linspace(-1, 1, rows, dtype=np.float32)
        self.y, self.x = np.meshgrid(down, across, indexing="ij")
        fill = rng.uniform(*parameters.fill)
        x = (self.x + rng.uniform(-2, 2) * parameters.shift) * half[0] / fill
        y = (self.y + rng.uniform(-2, 2) * parameters.shift) * half[1] / (fill * rng.uniform(0.92, 1.08))
        angle = math.radians(rng.uniform(-1, 1) * parameters.tilt)
        cos, sin = math.cos(angle), math.sin(angle)
        self.u, self.v = x * cos + y * sin, y * cos - x * sin
        self.sharpness = rng.uniform(20, 60)

    def ellipse(self, cx, cy, a, b, degrees=0.0, wobble=None, power=2.0) -> np.ndarray:
        """Coverage in [0, 1] of an ellipse with soft edges; `wobble` (a generator) makes its outline irregular."""
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        du, dv = self.u - float(cx), self.v - float(cy)
        p = (du * cos + dv * sin) / float(a)
        q = (dv * cos - du * sin) / float(b)
        radius = np.sqrt(p * p + q * q) if power == 2.0 else (np.abs(p) ** power + np.abs(q) ** power) ** (1 / power)
        if wobble is not None:
            theta = np.arctan2(q, p)
            for k in (2, 3, 5):
                amplitude = wobble.normal(0, self.parameters.wobble / k)
                radius = radius * (1 + amplitude * np.cos(k * theta + wobble.uniform(0, 6.3)))
        return np.clip((1 - radius) * (self.sharpness * float(min(a, b))) + 0.5, 0, 1)

    def bar(self, u0, v0, u1, v1, r0, r1) -> np.ndarray:
        """Coverage of a rounded bar from (u0, v0), radius r0, to (u1, v1), radius r1."""
        u0, v0, u1, v1 = float(u0), float(v0), float(u1), float(v1)
        du, dv = u1 - u0, v1 - v0
        t = np.clip(((self.u - u0) * du + (self.v - v0) * dv) / (du * du + dv * dv), 0, 1)
        distance = np.sqrt((self.u - u0 - t * du) ** 2 + (self.v - v0 - t * dv) ** 2)
        return np.clip((r0 + t * float(r1 - r0) - distance) * self.sharpness + 0.5, 0, 1)

    def shading(self, rng, strength) -> np.ndarray:
        """A slow multiplicative field around 1."""
        coarse = rng.uniform(-1, 1, (3, 3))
        return (1 + strength * resize(coarse, *self.u.shape)).astype(np.float32)

    def texture(self, rng, cells) -> np.ndarray:
        return resize(rng.normal(0, 1, (cells, cells)), *self.u.shape).astype(np.float32)

    def grain(self, rng) -> np.ndarray:
        """Noise of unit variance, correlated over a pixel or two in half of the cases."""
        noise = rng.standard_normal(self.u.shape, np.float32)
        if rng.random() < 0.5:
            noise = noise + np.roll(noise, 1, 0)
            noise = (noise + np.roll(noise, 1, 1)) / 2
        return noise

    def collimate(self, rng, image) -> None:
        """Shutter borders on two opposite sides or all around, black or (unexposed) white."""
        edges = rng.uniform(0.76, 0.98, 4)
        if rng.random() < 0.4:
            edges[rng.integers(2) * 2 :][:2] = 2.0
        shut = (self.x < -edges[0]) | (self.x > edges[1]) | (self.y < -edges[2]) | (self.y > edges[3])
        image[shut] = image.min() if rng.random() < 0.75 else image.max()

    def marker(self, rng, image, value) -> None:
        """A side marker or a line of annotation: small, near a corner."""
        rows, columns = image.shape
        h, w = int(rows * rng.uniform(0.03, 0.07)), int(columns * rng.uniform(0.03, 0.2))
        r = int(rng.uniform(0.02, 0.15) * rows) if rng.random() < 0.5 else int(rows * 0.97 - h - rng.integers(3))
        c = int(rng.uniform(0.02, 0.15) * columns) if rng.random() < 0.5 else int(columns * 0.97 - w - rng.integers(3))
        image[r : r + h, c : c + w] = np.where(rng.random((h, w)) < 0.6, image.min() + value, image[r : r + h, c : c + w])


def paint(image: np.ndarray, coverage: np.ndarray, value: float) -> None:
    image += coverage * (float(value) - image)


def table(rng, field, image) -> None:
    """A table below the patient: one or two thin arcs, open upwards, or a flat line."""
    depth, thickness = rng.uniform(0.86, 1.0), rng.uniform(0.015, 0.05)
    sag = rng.choice([0.0, rng.uniform(0.1, 0.35)])
    height = depth - sag * field.u**2
    extent = np.abs(field.u) < rng.uniform(0.7, 1.4)
    value = image.min() + rng.uniform(0.3, 0.9) * max(image.max() - image.min(), 1.0)
    for offset in (0.0, rng.uniform(0.08, 0.2))[: rng.integers(1, 3)]:
        paint(image, np.clip((thickness - np.abs(field.v - height - offset)) * field.sharpness + 0.5, 0, 1) * extent, value)


def finish(rng, field, image, body, modality) -> Phantom:
    """Shading, burnt-in window, gamma, borders, markers and noise, then stored bits."""
    parameters = field.parameters
    low, high = image.min(), image.max()
    if modality == "mr":
        image = image * field.shading(rng, parameters.bias)
    elif modality == "radiograph":
        image = image + (high - low) * 0.3 * (field.shading(rng, parameters.bias) - 1)
    if rng.random() < parameters.window_share:
        grey = image[body > 0.5]
        inner = np.percentile(grey, [rng.uniform(0, 12), rng.uniform(85, 100)])
        image = np.clip(image, min(inner[0], low + 0.4 * (high - low)), inner[1])
    low, high = image.min(), image.max()
    image = (image - low) / max(high - low, 1e-9)
    image = image ** rng.uniform(*parameters.gamma)
    if modality == "radiograph" and rng.random() < 0.5:
        field.collimate(rng, image)
    sigma = rng.uniform(*parameters.noise)
    if modality == "mr":
        image = np.hypot(image + sigma * field.grain(rng), sigma * field.grain(rng))
    else:
        image = image + sigma * field.grain(rng)
    if rng.random() < (0.5 if modality == "radiograph" else 0.15):
        field.marker(rng, image, 1.0)
    return store(rng, field, image, body, modality)


def store(rng, field, image, body, modality) -> Phantom:
    """Quantise: CT as signed 16-bit (often a circular field with padding), the others as unsigned 8 to 12 bits."""
    low, high = image.min(), image.max()
    unit = (image - low) / (high - low) if high > low else np.zeros_like(image)
    if modality != "ct":
        bits = int(rng.choice([8, 10, 12]))
        stored = np.round(unit * (2**bits - 1) * (1 if bits == 8 else rng.uniform(0.3, 1))).astype(np.uint16)
        return Phantom(stored, body, 1.0, 0.0, None, bits, False)
    stored = np.round(unit * rng.uniform(800, 3000)).astype(np.int16)
    padding = None
    if rng.random() < 0.5:
        outside = np.hypot(field.x, field.y) > rng.uniform(0.97, 1.05)
        if rng.random() < 0.6:
            padding = -2000
            stored[outside] = padding
        else:  # the same field without the header's word for it: air turns grey and the corners black
            stored[outside] = -int(rng.uniform(0, 0.6) * max(stored.max(), 1))
    return Phantom(stored, body, 1.0, -1024.0, padding, 16, True)
