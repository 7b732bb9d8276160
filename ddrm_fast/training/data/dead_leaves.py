"""Synthetic training pictures: dead leaves with textures, shading and blur.

The dead leaves model (Matheron 1968; Lee, Mumford and Huang, "Occlusion models for natural
images", 2001) drops opaque shapes with power-law sizes on one another. Its edges, scales and
occlusions resemble those of photographs, and it needs no photograph.

The pictures are made in two vectorised passes: a depth pass finds the uppermost shape at every
pixel, size class by size class; a shading pass colours all pixels at once from the numbers of
their shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 20

Shapes = dict[str, np.ndarray]  # a number of each shape, by the name of what it says


@dataclass(frozen=True)
class DeadLeavesConfig:
    """What the pictures look like.

    Attributes:
        size:
            Side of a picture in pixels.
        oversampling:
            Shapes are drawn at this multiple of the size and averaged down.
        smallest:
            Smallest shape radius in pixels of the finished picture.
        largest:
            Largest shape radius as a fraction of the side.
        layers:
            Mean number of shapes that cover a pixel.
    """

    size: int = 256
    oversampling: int = 2
    smallest: float = 1.5
    largest: float = 0.5
    layers: float = 5.0

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"size: got {self.size}, expected at least 8")
        if self.oversampling < 1:
            raise ValueError(f"oversampling: got {self.oversampling}, expected at least 1")
        if not 0 < self.smallest < self.largest * self.size:
            raise ValueError(
                f"smallest: got {self.smallest}, expected above 0 and below "
                f"largest x size = {self.largest * self.size}"
            )
        if not self.layers > 0:
            raise ValueError(f"layers: got {self.layers}, expected a positive number")


def dead_leaves(seed: int, index: int = 0, config: DeadLeavesConfig | None = None) -> np.ndarray:
    """Draw one picture.

    Args:
        seed:
            Seed of the collection, 0 or more.
        index:
            Which picture of the collection, 0 or more.
        config:
            Look of the picture.

    Returns:
        uint8 array (size, size, 3), the same for the same arguments.

    Raises:
        ValueError: A negative seed or index.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed, index: got {seed}, {index}, expected numbers of 0 or more")
    config = config or DeadLeavesConfig()
    rng = np.random.default_rng([seed, index])
    side = config.size * config.oversampling
    shapes = _draw_shapes(rng, config, side)
    picture = _shade(rng, _uppermost(shapes, side), shapes, side)
    factor = config.oversampling
    picture = picture.reshape(config.size, factor, config.size, factor, 3).mean(axis=(1, 3))
    if rng.random() < 0.35:
        picture = _blur(picture, float(np.exp(rng.uniform(np.log(0.4), np.log(2.5)))))
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)


def _draw_shapes(rng: np.random.Generator, config: DeadLeavesConfig, side: int) -> Shapes:
    """Numbers of every shape of one picture, in order of depth (the last lies on top)."""
    low = config.smallest * config.oversampling * float(np.exp(rng.uniform(0.0, 2.2)))
    high = config.largest * side
    low = min(low, 0.5 * high)
    exponent = rng.uniform(2.2, 3.0)
    probe = _power_law(rng, 4096, low, high, exponent)
    count = int(config.layers * side**2 / (2.2 * np.mean(probe**2))) + 1
    count = min(count, 60_000)
    radius = _power_law(rng, count, low, high, exponent)
    aspect = np.exp(rng.normal(0.0, 0.35, count))
    bars = rng.random(count) < 0.08
    aspect = np.where(bars, np.exp(rng.uniform(1.0, 2.2, count)), aspect)
    angle = rng.uniform(0.0, 2 * np.pi, count)
    upright = rng.random(count) < rng.uniform(0.0, 0.6)
    angle = np.where(upright, rng.normal(0.0, 0.03, count), angle)
    return {
        "radius": radius,
        "x": rng.uniform(-0.15 * side, 1.15 * side, count),
        "y": rng.uniform(-0.15 * side, 1.15 * side, count),
        "cos": np.cos(angle),
        "sin": np.sin(angle),
        "stretch": np.sqrt(np.clip(aspect, 1 / 9, 9)),
        "kind": rng.choice(4, count, p=rng.dirichlet([2.0, 2.0, 1.0, 2.0])),
        "lobes": rng.integers(2, 7, count).astype(np.float64),
        "wobble": rng.uniform(0.05, 0.4, count),
        "phase": rng.uniform(0.0, 2 * np.pi, count),
    }


def _power_law(
    rng: np.random.Generator, count: int, low: float, high: float, exponent: float
) -> np.ndarray:
    """Radii with density proportional to r^-exponent between low and high."""
    power = 1.0 - exponent
    u = rng.random(count)
    return (low**power + u * (high**power - low**power)) ** (1.0 / power)


def _uppermost(shapes: Shapes, side: int) -> np.ndarray:
    """Index of the uppermost shape at every pixel, int32 (side * side,); -1 where there is none."""
    depth = np.full(side * side, -1, np.int32)
    extent = shapes["radius"] * np.maximum(shapes["stretch"], 1 / shapes["stretch"]) * 1.42
    order = np.argsort(extent, kind="stable")
    start = 0
    while start < order.size:
        largest = extent[order[start]] * 1.5
        stop = int(np.searchsorted(extent[order], largest, side="right"))
        reach = int(np.ceil(extent[order[stop - 1]]))
        per_pass = max(1, _CHUNK // min((2 * reach + 1) ** 2, side * side))
        stop = min(stop, start + per_pass)
        _stamp(depth, np.sort(order[start:stop]), shapes, reach, side)
        start = stop
    return depth


def _stamp(depth: np.ndarray, chosen: np.ndarray, shapes: Shapes, reach: int, side: int) -> None:
    """Enter the chosen shapes, in increasing order of depth, into the depth map."""
    own = {name: values[chosen].astype(np.float32) for name, values in shapes.items()}
    if 2 * reach + 1 >= side:
        columns = rows = np.broadcast_to(np.arange(side), (chosen.size, side))
    else:
        offsets = np.arange(-reach, reach + 1)
        columns = np.rint(own["x"]).astype(np.int64)[:, None] + offsets
        rows = np.rint(own["y"]).astype(np.int64)[:, None] + offsets
    dx = ((columns - own["x"][:, None]) / own["radius"][:, None]).astype(np.float32)[:, None, :]
    dy = ((rows - own["y"][:, None]) / own["radius"][:, None]).astype(np.float32)[:, :, None]
    grown = {name: values[:, None, None] for name, values in own.items()}
    u = (grown["cos"] * dx + grown["sin"] * dy) / grown["stretch"]
    v = (grown["cos"] * dy - grown["sin"] * dx) * grown["stretch"]
    inside = np.empty(u.shape, bool)
    for kind, test in enumerate((_in_disc, _in_box, _in_diamond, _in_blob)):
        of_kind = shapes["kind"][chosen] == kind
        if of_kind.any():
            part = {name: values[of_kind] for name, values in grown.items()}
            inside[of_kind] = test(u[of_kind], v[of_kind], part)
    inside &= ((rows >= 0) & (rows < side))[:, :, None]
    inside &= ((columns >= 0) & (columns < side))[:, None, :]
    which, row, column = np.nonzero(inside)
    pixel = rows[which, row] * side + columns[which, column]
    winners = np.full(depth.size, -1, np.int32)
    winners[pixel] = chosen[which]
    np.maximum(depth, winners, out=depth)


def _in_disc(u: np.ndarray, v: np.ndarray, part: Shapes) -> np.ndarray:
    return u * u + v * v <= 1


def _in_box(u: np.ndarray, v: np.ndarray, part: Shapes) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) <= 0.9


def _in_diamond(u: np.ndarray, v: np.ndarray, part: Shapes) -> np.ndarray:
    """Triangles and cut diamonds: three half planes."""
    return (np.abs(u) + v <= 1) & (v >= part["wobble"] * 2 - 0.9)


def _in_blob(u: np.ndarray, v: np.ndarray, part: Shapes) -> np.ndarray:
    edge = 1 + part["wobble"] * np.cos(part["lobes"] * np.arctan2(v, u) + part["phase"])
    return u * u + v * v <= edge * edge


def _shade(rng: np.random.Generator, depth: np.ndarray, shapes: Shapes, side: int) -> np.ndarray:
    """Colour every pixel from its shape: float32 (side, side, 3), about 0 to 1."""
    visible, label = np.unique(depth, return_inverse=True)
    label = label.reshape(side, side)
    count = visible.size
    radius = shapes["radius"][visible].astype(np.float32)
    colours = _colours(rng, count)
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
    dx = (columns - shapes["x"][visible].astype(np.float32)[label]) / radius[label]
    dy = (rows - shapes["y"][visible].astype(np.float32)[label]) / radius[label]

    strength = rng.exponential(0.1, count) * (rng.random(count) < 0.7)
    tilt = rng.uniform(0, 2 * np.pi, count)
    light = _single(strength * np.cos(tilt))[label] * dx
    light += _single(strength * np.sin(tilt))[label] * dy
    bulge = _single(rng.exponential(0.08, count) * (rng.random(count) < 0.4))
    light -= bulge[label] * np.minimum(dx * dx + dy * dy, 2.0)

    textured = rng.random(count) < rng.uniform(0.3, 0.9)
    contrast = _single(np.minimum(rng.exponential(0.08, count), 0.35) * textured)
    pick = rng.integers(0, 3, count)
    texture = np.zeros((side, side), np.float32)
    for kind in range(2):
        field = _noise_field(rng, side, rng.uniform(0.3, 2.2))
        shift_x = rng.integers(0, side, count)[label]
        shift_y = rng.integers(0, side, count)[label]
        shifted = field[
            (rows.astype(np.int64) + shift_y) % side, (columns.astype(np.int64) + shift_x) % side
        ]
        texture += _single(pick == kind)[label] * shifted
    texture += _single(pick == 2)[label] * _gratings(rng, label, rows, columns, count)
    texture *= contrast[label]

    tint = _single(1.0 + rng.normal(0.0, 0.3, (count, 3)))
    picture = colours[label]
    gain = 0.3 + picture.mean(axis=2, keepdims=True)
    picture = picture + gain * light[:, :, None] + gain * texture[:, :, None] * tint[label]
    glow = _noise_field(rng, side, 3.0) * rng.uniform(0.0, 0.12)
    return picture * (1.0 + glow[:, :, None])


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours from a random palette: wide luminance, narrower and correlated chroma."""
    anchors = rng.integers(2, 9)
    centre = rng.uniform(0.05, 0.95, (anchors, 1)) + rng.normal(
        0.0, rng.uniform(0.02, 0.16), (anchors, 3)
    )
    weights = rng.dirichlet(np.ones(anchors))
    colour = centre[rng.choice(anchors, count, p=weights)]
    colour = colour + rng.normal(0.0, rng.uniform(0.02, 0.25), (count, 1))
    colour = colour + rng.normal(0.0, rng.uniform(0.0, 0.06), (count, 3))
    return np.clip(colour, 0.0, 1.0).astype(np.float32)


def _single(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


def _noise_field(rng: np.random.Generator, side: int, slope: float) -> np.ndarray:
    """Periodic Gaussian field with spectrum f^-slope, zero mean, unit variance."""
    spectrum = np.fft.rfft2(rng.standard_normal((side, side), dtype=np.float32))
    fy = np.fft.fftfreq(side)[:, None]
    fx = np.fft.rfftfreq(side)[None, :]
    frequency = np.hypot(fx * np.exp(rng.normal(0.0, 0.5)), fy)
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(spectrum * frequency**-slope, s=(side, side))
    return (field / field.std()).astype(np.float32)


def _gratings(
    rng: np.random.Generator, label: np.ndarray, rows: np.ndarray, columns: np.ndarray, count: int
) -> np.ndarray:
    """Stripes and checks: per shape a frequency, a direction, a phase and a sharpness."""
    period = np.exp(rng.uniform(np.log(5.0), np.log(60.0), count))
    angle = rng.uniform(0, 2 * np.pi, count)
    fx = _single(2 * np.pi * np.cos(angle) / period)[label]
    fy = _single(2 * np.pi * np.sin(angle) / period)[label]
    phase = _single(rng.uniform(0, 2 * np.pi, count))[label]
    sharpness = _single(np.exp(rng.uniform(0.0, 2.5, count)))[label]
    checks = _single(rng.random(count) < 0.35)[label]
    wave = np.sin(fx * columns + fy * rows + phase)
    wave = wave * (1 + checks * (np.sin(fy * columns - fx * rows) - 1))
    return np.clip(wave * sharpness, -1.0, 1.0)


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with reflecting edges; sigma in pixels."""
    reach = min(int(np.ceil(3 * sigma)), picture.shape[0] - 1)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        width = [(0, 0)] * 3
        width[axis] = (reach, reach)
        padded = np.pad(picture, width, mode="symmetric")
        length = picture.shape[axis]
        picture = sum(
            tap * np.take(padded, np.arange(k, k + length), axis=axis) for k, tap in enumerate(taps)
        )
    return picture
