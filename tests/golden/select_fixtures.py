"""Makes the small copies in this folder from the full fixtures: python select_fixtures.py FULL_FOLDER.

Operators and noise are copied whole. Of a run, each state and clean image is kept at a quarter of its
places, chosen at random once for each size: what goes wrong at one place spreads over the picture with
the next call of the network, so the relative error there is that of the whole. Files that are here already
stay as they are. ``DDRM_FAST_GOLDEN=FULL_FOLDER pytest tests/test_compat_runs.py`` checks every place.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
NOT_READ = ("n_y", "x_T_arg", "floor", "branch_counts", "matrix", "matrix1", "matrix2", "times")


def places(entries: int) -> np.ndarray:
    """A quarter of the places of a picture with so many entries, in ascending order."""
    chosen = np.random.default_rng(entries).permutation(entries)[: entries // 4]
    return np.sort(chosen).astype(np.int32)


def shrink(arrays: dict) -> dict:
    small = {name: value for name, value in arrays.items() if name not in NOT_READ}
    for name in ("x_t", "x0_t"):
        if name in small:
            states = small.pop(name)
            small["places"] = places(states[0, 0].size)
            flat = states.reshape(*states.shape[:2], -1)
            small[f"{name}_at"] = np.ascontiguousarray(flat[..., small["places"]])
    return small


def main(full: Path) -> None:
    for folder in ("ddrm", "ddnm"):
        for path in sorted((full / folder).glob("*.npz")):
            target = HERE / folder / path.name
            if not target.exists():
                np.savez_compressed(target, **shrink(dict(np.load(path))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
