"""A DDPM run small enough for tests."""

import numpy as np

from ddrm_fast.ddpm import DDPMConfig, Pictures, own_network

NETWORK = own_network(8, width=32, mult=(1,), blocks=1, attention=())
TINY = DDPMConfig(
    size=8,
    network=NETWORK,
    schedule="cosine",
    T=20,
    batch=4,
    steps=5,
    warmup=2,
    learning_rate=1e-3,
    ema=0.9,
)


def pictures(count=6, size=8, channels=3, seed=0, classes=None):
    """Random pictures, and labels where there are classes."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    labels = None if classes is None else np.arange(count) % classes
    return Pictures([pixels[:2], pixels[2:]], labels)
