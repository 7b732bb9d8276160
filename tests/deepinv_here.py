"""deepinv where it is installed, also beside a torchvision whose kernels do not load.

Beside a CPU build of torch the registry's torchvision cannot load its kernels (they want CUDA's libraries),
and its import then fails for two operators that nobody defined. deepinv uses neither.
"""

import pytest
import torch

_LIBRARY = []  # kept: what it defines goes with it


def require():
    """The package; where it is missing, the module that asks is skipped."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARY.append(library)
    except ImportError:
        pass
    return pytest.importorskip("deepinv", exc_type=ImportError)
