"""How pictures look to a trained network: LPIPS, FID, KID and Inception Score, by torchmetrics.

Two published networks are asked: torchvision's AlexNet (LPIPS) and the Inception v3 of the first FID with
its TensorFlow resizing, as torch-fidelity converts it. Their weights are files of their own, looked for
where torch.hub keeps such files; nothing is downloaded unless ``download=True``, and only tensors are read.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

FEWEST_PICTURES = 100
LPIPS_SMALLEST_SIDE = 31  # below it AlexNet's second pooling has nothing left
SPLITS = 10  # of the Inception Score, as published
_SUBSETS, _SUBSET = 100, 1000  # of KID, as published
_TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


class Unavailable(RuntimeError):
    """A measure cannot be computed here; the message says what is missing and where it is found."""


@dataclass(frozen=True)
class FeatureNetwork:
    """A published network and the measures that need it.

    Attributes:
        name, measures:
            For messages.
        modules:
            What has to be importable.
        url:
            Where its weights are published; the eight digits in the name begin their SHA-256.
        megabytes:
            Size of that file.
    """

    name: str
    measures: str
    modules: tuple[str, ...]
    url: str
    megabytes: int

    @property
    def path(self) -> Path:
        """Where its weights are looked for."""
        return Path(torch.hub.get_dir()) / "checkpoints" / Path(self.url).name

    def require(self, download: bool) -> None:
        """Check that it can be loaded; fetch its weights where that is asked for.

        Raises:
            Unavailable: A package or the weights are missing, or the download failed.
        """
        needs = []
        absent = [name for name in self.modules if find_spec(name) is None]
        if absent:
            first = f"torchvision for torch {torch.__version__}, then " * ("torchvision" in absent)
            needs.append(f"{', '.join(absent)} (install {first}'ddrm_fast[perceptual]')")
        if not self.path.is_file() and not download:
            needs.append(
                f"the weights of {self.name} in {self.path} (published at {self.url}, "
                f"{self.megabytes} MB; --download fetches them)"
            )
        if needs:
            raise Unavailable(f"{self.measures}: needs {'; and '.join(needs)}")
        if self.path.is_file():
            return
        prefix = self.path.stem.rpartition("-")[2]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path), prefix)
        except (
            OSError,
            RuntimeError,
        ) as error:  # no network, full disk; another file than expected
            raise Unavailable(
                f"{self.measures}: {self.url} cannot be downloaded to {self.path} ({error})"
            ) from error

    def module(self, name: str) -> ModuleType:
        """An imported module.

        Raises:
            Unavailable: It cannot be imported.
        """
        try:
            return import_module(name)
        except Exception as error:  # a torchvision for another torch raises RuntimeError
            raise Unavailable(
                f"{self.measures}: {name} cannot be imported ({error}); torchvision has to be the "
                f"build for this torch, {torch.__version__}"
            ) from error

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Whatever the packages ask for inside, torch reads nothing but tensors from files.

        Raises:
            Unavailable: What is inside failed.
        """
        before = os.environ.get(_TENSORS_ONLY)
        os.environ[_TENSORS_ONLY] = "1"
        try:
            yield
        except Exception as error:  # readers of foreign bytes raise anything
            reason = " ".join(str(error).split())[:200]
            raise Unavailable(
                f"{self.measures}: {self.path} is damaged or not {self.name} ({reason})"
            ) from error
        finally:
            if before is None:
                del os.environ[_TENSORS_ONLY]
            else:
                os.environ[_TENSORS_ONLY] = before


ALEXNET = FeatureNetwork(
    "AlexNet",
    "LPIPS",
    ("torchmetrics", "torchvision"),
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    233,
)
INCEPTION = FeatureNetwork(
    "Inception v3",
    "FID, KID and Inception Score",
    ("torchmetrics", "torchvision", "torch_fidelity"),
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    91,
)


@dataclass(frozen=True)
class Features:
    """What Inception v3 sees in N pictures.

    Attributes:
        pooled:
            Output of the last pooling, (N, 2048).
        logits:
            Of the classes, without their bias, (N, 1008).
    """

    pooled: Tensor
    logits: Tensor

    @staticmethod
    def together(parts: Sequence[Features]) -> Features:
        """The features of all parts, one after the other."""
        return Features(
            torch.cat([part.pooled for part in parts]), torch.cat([part.logits for part in parts])
        )


def load_lpips(
    download: bool = False, device: torch.device | str = "cpu"
) -> Callable[[Tensor, Tensor], float]:
    """LPIPS (Zhang et al. 2018) with AlexNet, version 0.1: 0 for equal pictures, more for less alike.

    Args:
        download:
            Fetch the weights of AlexNet where they are not on this machine.
        device:
            Where the network runs.

    Returns:
        (estimate, truth) -> distance, for pictures (1 or 3, H, W) of one shape in [0, 1], sides of at
        least 31; the estimate is clipped.

    Raises:
        Unavailable: A package or the weights are missing; see :class:`FeatureNetwork`.
    """
    ALEXNET.require(download)
    module = ALEXNET.module("torchmetrics.image.lpip")
    with ALEXNET.loading():
        measure = module.LearnedPerceptualImagePatchSimilarity("alex", normalize=True).to(device)

    def lpips(estimate: Tensor, truth: Tensor) -> float:
        pair = (x.to(device).float().clamp(0, 1).expand(3, -1, -1)[None] for x in (estimate, truth))
        with torch.no_grad():
            measure.update(*pair)
        distance = float(measure.compute())
        measure.reset()
        return distance

    return lpips


def load_inception(
    download: bool = False, device: torch.device | str = "cpu"
) -> Callable[[Tensor], Features]:
    """Inception v3 as FID was first computed with; arguments and errors as :func:`load_lpips`.

    Returns:
        See :func:`extractor`.
    """
    INCEPTION.require(download)
    module = INCEPTION.module("torch_fidelity.feature_extractor_inceptionv3")
    with INCEPTION.loading():
        network = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], str(INCEPTION.path)
        )
    return extractor(network.to(device), device)


def extractor(
    network: nn.Module, device: torch.device | str = "cpu"
) -> Callable[[Tensor], Features]:
    """What turns pictures into :class:`Features`.

    Args:
        network:
            uint8 (B, 3, H, W) -> (pooled features (B, n), logits (B, k)).

    Returns:
        A function of pictures (B, 1 or 3, H, W) in [0, 1], which are rounded to 8 bits as files are.
    """

    @torch.no_grad()
    def extract(pictures: Tensor) -> Features:
        levels = (pictures.to(device).clamp(0, 1) * 255).round().to(torch.uint8)
        pooled, logits = network(levels.expand(-1, 3, -1, -1))
        return Features(pooled.double().cpu(), logits.double().cpu())

    return extract


def set_measures(restored: Features, clean: Features) -> dict[str, float]:
    """FID, KID and Inception Score of a set of restored pictures.

    - ``fid``: Frechet distance of the two sets' Gaussians (Heusel et al. 2017). Biased upwards, more so for
      fewer pictures: compare only figures of equally many.
    - ``kid``, ``kid_std``: unbiased squared maximum mean discrepancy with a cubic kernel (Binkowski et al.
      2018): mean and deviation over 100 subsets of 1000; over all pictures at once where there are no more.
    - ``inception_score``, ``inception_score_std`` (Salimans et al. 2016) over 10 splits; of the restored
      pictures alone.

    Args:
        restored, clean:
            Features of at least 100 pictures each.

    Raises:
        ValueError: Too few pictures.
        Unavailable: torchmetrics is missing.
    """
    count = min(len(restored.pooled), len(clean.pooled))
    if count < FEWEST_PICTURES:
        raise ValueError(
            f"{INCEPTION.measures}: got {count} pictures, expected at least {FEWEST_PICTURES}: they "
            "compare sets (published figures: 1,000 pictures and more)"
        )
    if find_spec("torchmetrics") is None:
        raise Unavailable(
            f"{INCEPTION.measures}: needs torchmetrics (pip install 'ddrm_fast[perceptual]')"
        )
    modules = (
        INCEPTION.module(f"torchmetrics.image.{name}") for name in ("fid", "kid", "inception")
    )
    fid_module, kid_module, score_module = modules
    given = _Given(restored.pooled.shape[1])
    with warnings.catch_warnings():  # that features are kept, which they are here anyhow
        warnings.simplefilter("ignore", UserWarning)
        fid = fid_module.FrechetInceptionDistance(given)
        kid = kid_module.KernelInceptionDistance(
            given, subsets=_SUBSETS if count > _SUBSET else 1, subset_size=min(count, _SUBSET)
        )
        score = score_module.InceptionScore(given, splits=SPLITS)
    for real, features in ((True, clean), (False, restored)):
        fid.update(features.pooled, real=real)
        kid.update(features.pooled, real=real)
    score.update(restored.logits)
    with torch.random.fork_rng(devices=[]):  # subsets and splits are drawn
        torch.manual_seed(0)
        kid_mean, kid_std = kid.compute()
        score_mean, score_std = score.compute()
    return {
        "fid": float(fid.compute()),
        "kid": float(kid_mean),
        "kid_std": float(kid_std),
        "inception_score": float(score_mean),
        "inception_score_std": float(score_std),
    }


class _Given(nn.Module):
    """Stands where torchmetrics has its network: it is given features, so one network serves all three."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
