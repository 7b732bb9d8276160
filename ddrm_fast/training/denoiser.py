"""How the default prior learns: crops at random noise levels, the loss, the file with the weights.

The weight of the loss follows Karras et al., "Elucidating the design space of diffusion-based generative
models" (2022), section 5.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from ..io.files import atomic_file
from ..machine.arguments import check_made
from ..priors.networks.denoiser import SIGMA_MAX, SIGMA_MIN, Denoiser, DenoiserConfig, widened
from ..priors.weights import save_metadata
from .checkpoints import check_numbers, read_checkpoint
from .data.crops import CropConfig, CropSource
from .data.dead_leaves import DeadLeavesConfig
from .data.device_crops import DeviceCrops
from .data.leaves import kept_leaves
from .data.licences import Licences
from .data.packs import load_folders
from .files import in_fixed_order
from .fit import Fit
from .learner import Learner, Sums
from .loop import train as run
from .muon import Muon
from .processes import OneProcess
from .report import Shown

logger = logging.getLogger(__name__)

WEIGHTS = "denoiser.safetensors"
OPTIMISERS = ("adamw", "muon")
#: noise levels, in [-1, 1] units, whose loss the log shows apart: those that cameras make
_USUAL = (0.1, 0.8)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Fit):
    """A run; what every run chooses is in :class:`ddrm_fast.training.Fit`.

    Attributes:
        model:
            Shape of the network.
        crops:
            How crops are taken.
        leaves:
            Look of the dead-leaves pictures.
        leaves_share:
            Share of crops from dead leaves, 0 to 1.
        leaves_count:
            Number of dead-leaves pictures that are drawn.
        sigma_median:
            Median of the log-normal part of the noise levels ...
        sigma_spread:
            ... and its standard deviation in natural logarithms.
        sigma_uniform:
            Share of noise levels drawn log-uniformly from 0.002 to 160 instead.
        log_floor:
            0 adds up the errors of the crops, which leaves the smooth ones next to no say.
            Above 0 adds up log(error + log_floor), so that a crop counts by the share of its error
            that goes away. An error of a whole crop is nearly a function of the noisy crop alone,
            and weights that are one leave the minimum, the posterior mean, where it is.
        crops_on:
            Where crops and noise are drawn: "cpu", or "device": where the network is. The same
            distribution, other numbers.
        optimiser:
            "adamw", or "muon": Muon (:mod:`.muon`) for the matrices between the first layer and the last,
            AdamW for the rest. It learns more from a step, which costs little more where batches are large.
        start_from:
            SHA-256 of the weights that the run starts from; empty for random ones.
    """

    model: DenoiserConfig = field(default_factory=DenoiserConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    leaves: DeadLeavesConfig = field(default_factory=DeadLeavesConfig)
    leaves_share: float = 0.45
    leaves_count: int = 600
    steps: int = 40_000
    decay_steps: int = 15_000
    weight_decay: float = 1e-3
    sigma_median: float = 0.2
    sigma_spread: float = 1.2
    sigma_uniform: float = 0.2
    log_floor: float = 0.0
    crops_on: str = "cpu"
    optimiser: str = "adamw"
    start_from: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leaves_count < 0:
            raise ValueError(f"leaves_count: got {self.leaves_count}, expected 0 or more")
        for name in ("sigma_median", "sigma_spread"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, expected a positive number, not infinity"
                )
        if not 0 <= self.log_floor < math.inf:
            raise ValueError(f"log_floor: got {self.log_floor}, expected 0 or more, not infinity")
        if self.crops_on not in ("cpu", "device"):
            raise ValueError(f"crops_on: got {self.crops_on!r}, expected 'cpu' or 'device'")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser: got {self.optimiser!r}, expected 'adamw' or 'muon'")
        for name in ("leaves_share", "sigma_uniform"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 to 1")
        if self.crops.patch % self.model.multiple:
            raise ValueError(
                f"crops.patch: got {self.crops.patch}, expected a multiple of "
                f"{self.model.multiple} for {len(self.model.channels)} scales"
            )

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> dict[str, Any]:
        """See :meth:`Fit.from_plain`."""
        return {
            **values,
            "model": DenoiserConfig(**values["model"]),
            "crops": CropConfig(**values["crops"]),
            "leaves": DeadLeavesConfig(**values["leaves"]),
        }


check_made(TrainingConfig)


def best_precision(device: str | torch.device = "cpu") -> str:
    """`"bfloat16"` where the device multiplies bfloat16 in hardware, else `"float32"`."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    supported = supported or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return "bfloat16" if supported else "float32"


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        clean:
            Crops (B, 3, patch, patch) in [-1, 1].
        noise:
            White noise of that shape.
        sigma:
            Noise levels (B,).
    """

    clean: Tensor
    noise: Tensor
    sigma: Tensor


def draw_batch(config: TrainingConfig, source: CropSource, step: int) -> Batch:
    """The batch of a step, a function of the seed and the step alone.

    Args:
        config:
            The run.
        source:
            Where the crops come from.
        step:
            Number of the step, 0 or more.
    """
    pixels = torch.from_numpy(source.batch(step, config.batch))
    clean = (pixels.float() / 127.5 - 1).permute(0, 3, 1, 2)
    generator = torch.Generator().manual_seed(_seed(config, step, 1))
    sigma = _noise_levels(config, config.batch, generator)
    noise = torch.randn(pixels.shape, generator=generator).permute(0, 3, 1, 2)
    return Batch(clean, noise, sigma)


def _seed(config: TrainingConfig, *place: int) -> int:
    words = np.random.SeedSequence([config.seed, *place]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def _noise_levels(config: TrainingConfig, count: int, generator: torch.Generator) -> Tensor:
    """Noise levels (count,), stratified: one from each of so many equal slices of the distribution."""
    device = generator.device
    slices = torch.arange(count, dtype=torch.float64, device=device)
    drawn = torch.rand(count, generator=generator, dtype=torch.float64, device=device)
    u = (slices + drawn) / count
    share = config.sigma_uniform
    wide = torch.exp(math.log(SIGMA_MIN) + (u / max(share, 1e-9)) * math.log(SIGMA_MAX / SIGMA_MIN))
    quantile = ((u - share) / max(1 - share, 1e-9)).clamp(1e-6, 1 - 1e-6)
    normal = math.sqrt(2) * torch.erfinv(2 * quantile - 1)
    narrow = torch.exp(math.log(config.sigma_median) + config.sigma_spread * normal)
    return torch.where(u < share, wide, narrow).clamp(SIGMA_MIN, SIGMA_MAX).float()


@dataclass(frozen=True)
class Draws:
    """Step -> one process's share of its batch: every so-manieth crop, so that each has all noise levels."""

    config: TrainingConfig
    crops: CropSource
    rank: int
    count: int

    def __call__(self, step: int) -> Batch:
        """The batch of a step; empty where it is drawn on the device."""
        if self.config.crops_on == "device":
            return Batch(*torch.zeros(3, 0))
        batch = draw_batch(self.config, self.crops, step)
        if self.count == 1:
            return batch
        return Batch(*(x[self.rank :: self.count] for x in batch))


class Trainer(Learner[TrainingConfig, CropSource, Batch]):
    """A run of the default prior's training; see :class:`ddrm_fast.training.Learner`."""

    kind = "denoiser"
    weights = WEIGHTS
    watched = ("loss", "loss_sigma_0.1_to_0.8")

    def __init__(
        self,
        config: TrainingConfig,
        source: CropSource,
        machine: OneProcess | None = None,
        start_from: Denoiser | None = None,
    ) -> None:
        """Start at step 0.

        Args:
            config:
                The run.
            source:
                Where the crops come from.
            machine:
                The processes that share the work; default: this one on the CPU.
            start_from:
                Weights to start from; those of a narrower network are taken into a wider one, which computes
                the same at first. Default: random ones.

        Raises:
            ValueError: The given network is no narrower version of the run's.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = Denoiser(config.model)
            if start_from is not None:
                network = widened(start_from, network)
        machine = machine or OneProcess("cpu")
        network.to(machine.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        super().__init__(config, source, network, machine)
        self._drawn = None
        if config.crops_on == "device":
            self._drawn = DeviceCrops(source, self.device)

    def make_optimiser(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """See :meth:`Learner.make_optimiser`."""
        if self.fit.optimiser == "muon":
            net = cast("Denoiser", self.network).net
            ends = {net.head.weight, net.tail.weight}
            inner = [p for p in parameters if p.ndim == 4 and p not in ends]
            rest = [p for p in parameters if p.ndim != 4 or p in ends]
            return Muon(inner, rest, self.fit.learning_rate, weight_decay=self.fit.weight_decay)
        return torch.optim.AdamW(
            parameters, lr=self.fit.learning_rate, betas=(0.9, 0.99),
            weight_decay=self.fit.weight_decay, fused=True,
        )  # fmt: skip

    def source(self) -> Callable[[int], Batch]:
        """See :meth:`Learner.source`."""
        return Draws(self.fit, self.data, self.machine.rank, self.machine.count)

    def place(self, batch: Batch, step: int) -> Batch:
        """See :meth:`Learner.place`."""
        if self._drawn is None:
            return super().place(batch, step)
        count = self.fit.batch // self.machine.count
        generator = torch.Generator(self.device)
        generator.manual_seed(_seed(self.fit, step, self.machine.rank, 4))
        clean = self._drawn.batch(generator, count) / 127.5 - 1
        sigma = _noise_levels(self.fit, count, generator)
        noise = torch.randn(clean.shape, generator=generator, device=self.device)
        return Batch(clean, noise, sigma)

    def errors(self, batch: Batch) -> Tensor:
        """Weighted squared error of each crop (B,): that of the raw network at unit variance.

        Args:
            batch:
                On the device.
        """
        clean, noise, sigma = batch
        s = sigma[:, None, None, None]
        data = self.fit.model.sigma_data
        with self.autocast():
            estimate = self.model(clean + s * noise, sigma)
        weight = (sigma.square() + data**2) / (sigma * data).square()
        return weight * (estimate - clean).square().mean(dim=(1, 2, 3))

    def aim(self, errors: Tensor) -> Tensor:
        """What a step lowers, from the error of each crop; see `TrainingConfig.log_floor`."""
        floor = self.fit.log_floor
        return ((errors + floor).log() if floor > 0 else errors).mean()

    def losses(self, batch: Batch) -> tuple[Tensor, Sums]:
        """See :meth:`Learner.losses`."""
        errors = self.errors(batch)
        shown = errors.detach()
        usual = (batch[2] > _USUAL[0]) & (batch[2] < _USUAL[1])
        sums = (shown * usual).sum(), usual.sum()
        return self.aim(errors), {self.watched[0]: (shown.mean(), 1.0), self.watched[1]: sums}

    def export(self, path: str | Path) -> None:
        """See :meth:`Learner.export`."""
        _write(self.fit, self.step, self.mean.state_dict(), path)


def config_from_json(text: str) -> TrainingConfig:
    """Read a configuration from the JSON that a checkpoint holds.

    Args:
        text:
            The JSON.

    Raises:
        ValueError: It is something else.
    """
    return TrainingConfig.from_json(text)


def export(trainer_or_checkpoint: Trainer | str | Path, path: str | Path) -> dict[str, Any]:
    """Write the running mean of the weights as a float16 safetensors file.

    Args:
        trainer_or_checkpoint:
            A trainer, or the path of a checkpoint.
        path:
            The file to write; `ddrm_fast.priors.weights.load_denoiser` reads it.

    Returns:
        The training summary that the file carries.

    Raises:
        OSError: The file cannot be written; an earlier one at `path` stays intact.
        FloatingPointError: A weight is no finite number; nothing is written.
    """
    if isinstance(trainer_or_checkpoint, Trainer):
        trainer = trainer_or_checkpoint
        return _write(trainer.fit, trainer.step, trainer.mean.state_dict(), path)
    state = read_checkpoint(trainer_or_checkpoint, Trainer.kind)
    return _write(config_from_json(state["config"]), state["step"], state["mean"], path)


def _write(
    config: TrainingConfig, step: int, mean: dict[str, Tensor], path: str | Path
) -> dict[str, Any]:
    weights = {name: value.to("cpu", torch.float16).contiguous() for name, value in mean.items()}
    check_numbers(weights, f"at step {step}")  # (float16 ends at 65504)
    summary = {
        "step": step,
        "crops_seen": step * config.batch,
        **{name: value for name, value in asdict(config).items() if name != "model"},
    }
    metadata = save_metadata(config.model, weights, summary)
    with atomic_file(Path(path)) as file:
        file.write(in_fixed_order(safetensors.torch.save(weights, metadata)))
    return summary


def build_source(
    config: TrainingConfig,
    folders: Sequence[str | Path],
    workers: int = 1,
    cache: str | Path | None = None,
    licences: Licences | None = None,
) -> CropSource:
    """Load the photographs and draw the dead leaves of a run.

    Args:
        config:
            The run.
        folders:
            Folders of photographs; none are needed where leaves_share is 1.
        workers:
            Processes that draw dead leaves.
        cache:
            Folder where the dead leaves are kept, so that a resumed run need not draw them.
        licences:
            Learn from photographs with these alone.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: There is nothing to draw from, or a folder does not tell its licences.
    """
    needed = config.leaves_share < 1
    if needed and not folders:
        raise ValueError(
            "folders: got none, expected a folder of photographs where the share of dead leaves is "
            f"{config.leaves_share} (a share of 1 needs none)"
        )
    photographs = load_folders(folders if needed else [], config.crops.patch, licences=licences)
    skipped = len(photographs.unreadable), len(photographs.too_small)
    logger.info("%d photographs; skipped: %d unreadable, %d too small", len(photographs), *skipped)
    if licences is not None:
        logger.info("left out for their licence: %d", len(photographs.left_out))
    if needed and not len(photographs):
        raise ValueError(
            f"folders: no usable picture in {', '.join(map(str, folders))} (skipped: {skipped[0]} "
            f"unreadable, {skipped[1]} with a side below {config.crops.patch} pixels"
            + (f", {len(photographs.left_out)} with another licence)" if licences else ")")
        )
    count = config.leaves_count if config.leaves_share > 0 else 0
    leaves = kept_leaves(config.seed, count, config.leaves, workers, cache)
    return CropSource(photographs, leaves, config.leaves_share, config.crops, config.seed)


def train(
    config: TrainingConfig,
    source: CropSource,
    out: str | Path,
    *,
    machine: OneProcess | None = None,
    start_from: Denoiser | None = None,
    resume: bool = False,
    final_decay: int | None = None,
    stop_at: int | None = None,
    shown: Shown | None = None,
    loaders: int = 0,
    share_cpu: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Trainer:
    """Run or continue the training of a denoiser: :func:`ddrm_fast.training.train`.

    Args:
        config:
            The run.
        source:
            Where the crops come from.
        out:
            Folder for checkpoint.pt, denoiser.safetensors (the export) and log.jsonl.
        machine:
            The processes that share the work; default: this one on the CPU.
        start_from:
            Start a new run from these weights (`load_denoiser`), see :class:`Trainer`.
        resume, final_decay, stop_at, shown, loaders, share_cpu, on_step:
            As there.

    Returns:
        The trainer in its last state.

    Raises:
        FileExistsError, FileNotFoundError, ConfigMismatch, FloatingPointError, OSError: As there.
    """
    trainer = Trainer(config, source, machine, None if resume else start_from)
    return run(
        trainer, out, resume=resume, final_decay=final_decay, stop_at=stop_at, shown=shown,
        loaders=loaders, share_cpu=share_cpu, on_step=on_step,
    )  # fmt: skip
