"""Training of the default prior: one loop that can be stopped and resumed at any step.

Every random number of step n (crops, noise levels, noise) derives from (seed, n), so a resumed
run takes the same steps as one that was never stopped. The weight of the loss follows Karras et
al., "Elucidating the design space of diffusion-based generative models" (2022), section 5.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from ..machine.cpu_share import CpuShare
from .batches import batches
from .dead_leaves import DeadLeavesConfig
from .denoiser import Denoiser, DenoiserConfig, save_metadata
from .pictures import CropConfig, CropSource, load_folders
from .runs import (
    ConfigMismatch,
    atomic_file,
    in_fixed_order,
    kept_leaves,
    read_state,
    refuse_differences,
    stop_signal,
    write_state,
)

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "denoiser.safetensors"
LOG = "log.jsonl"
CHECKPOINT_FORMAT = "ddrm_fast.training/1"


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a run computes.

    Attributes:
        model: Shape of the network.
        crops: How crops are taken.
        leaves: Look of the dead-leaves pictures.
        leaves_share: Share of crops from dead leaves, 0 to 1.
        leaves_count: Number of dead-leaves pictures that are drawn.
        batch: Crops per step.
        steps: Steps of the whole run.
        warmup: Steps of linear warm-up.
        decay_steps: Steps at the end over which the learning rate falls to zero as a half cosine.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Decoupled weight decay.
        ema: Decay per step of the running mean of the weights.
        clip: Largest norm of the gradient.
        sigma_median: Median of the log-normal part of the noise levels ...
        sigma_spread: ... and its standard deviation in natural logarithms.
        sigma_uniform: Share of noise levels drawn log-uniformly from 0.002 to 160 instead.
        log_floor: 0 adds up the errors of the crops, which leaves the smooth ones next to no say.
            Above 0 adds up log(error + log_floor), so that a crop counts by the share of its error
            that goes away. An error of a whole crop is nearly a function of the noisy crop alone,
            and weights that are one leave the minimum, the posterior mean, where it is.
        precision: Arithmetic of the network: "bfloat16" or "float32".
        seed: Seed of weights, pictures, crops and noise, 0 or more.
        start_from: SHA-256 of the weights that the run starts from; empty for random ones.
    """

    model: DenoiserConfig = field(default_factory=DenoiserConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    leaves: DeadLeavesConfig = field(default_factory=DeadLeavesConfig)
    leaves_share: float = 0.45
    leaves_count: int = 600
    batch: int = 16
    steps: int = 40_000
    warmup: int = 300
    decay_steps: int = 15_000
    learning_rate: float = 4e-4
    weight_decay: float = 1e-3
    ema: float = 0.999
    clip: float = 1.0
    sigma_median: float = 0.2
    sigma_spread: float = 1.2
    sigma_uniform: float = 0.2
    log_floor: float = 0.0
    precision: str = "float32"
    seed: int = 0
    start_from: str = ""

    def __post_init__(self) -> None:
        for name in ("batch", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        for name in ("warmup", "decay_steps", "seed", "leaves_count"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("learning_rate", "clip", "sigma_median", "sigma_spread"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a positive number")
        if not self.log_floor >= 0:
            raise ValueError(f"log_floor: got {self.log_floor}, expected 0 or more")
        for name in ("leaves_share", "sigma_uniform", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 to 1")
        if self.decay_steps > self.steps:
            raise ValueError(
                f"decay_steps: got {self.decay_steps}, expected at most steps = {self.steps}"
            )
        if self.precision not in ("bfloat16", "float32"):
            raise ValueError(f"precision: got {self.precision!r}, expected 'bfloat16' or 'float32'")
        if self.crops.patch % self.model.multiple:
            raise ValueError(
                f"crops.patch: got {self.crops.patch}, expected a multiple of "
                f"{self.model.multiple} for {len(self.model.channels)} scales"
            )


def best_precision(device: str | torch.device = "cpu") -> str:
    """`"bfloat16"` where the device multiplies bfloat16 in hardware, else `"float32"`."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    supported = supported or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return "bfloat16" if supported else "float32"


def learning_rate_at(config: TrainingConfig, step: int) -> float:
    """Learning rate of one step: linear warm-up, constant, half a cosine down to zero.

    Args:
        config: The run.
        step: Number of the step, 0 to config.steps - 1.
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup))
    remaining = config.steps - step
    if remaining <= config.decay_steps:
        rate *= 0.5 - 0.5 * math.cos(math.pi * remaining / (config.decay_steps + 1))
    return rate


def with_final_decay(config: TrainingConfig, step: int, decay_steps: int) -> TrainingConfig:
    """The configuration that lets a run end `decay_steps` after `step` with a falling rate.

    Args:
        config: The run so far.
        step: Steps taken.
        decay_steps: Steps to go, at least 1.

    Raises:
        ValueError: decay_steps is below 1.
    """
    if decay_steps < 1:
        raise ValueError(f"decay_steps: got {decay_steps}, expected at least 1")
    rate = config.learning_rate if step >= config.steps else learning_rate_at(config, step)
    return replace(
        config, steps=step + decay_steps, decay_steps=decay_steps, warmup=0, learning_rate=rate
    )


class Trainer:
    """Weights, running mean and optimiser of a run, and one step of it."""

    def __init__(
        self, config: TrainingConfig, source: CropSource, device: str | torch.device = "cpu"
    ) -> None:
        """Start at step 0 with fresh weights.

        Args:
            config: The run.
            source: Where the crops come from.
            device: Where the network learns. It is no part of the run: a checkpoint goes on anywhere.
        """
        self.config, self.source, self.step = config, source, 0
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model = Denoiser(config.model)
        self.model = self.model.to(self.device, memory_format=torch.channels_last).train()
        self.parameters = list(self.model.parameters())
        self.ema = [parameter.detach().clone() for parameter in self.parameters]
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def start_from(self, weights: Denoiser) -> None:
        """Take the weights of a network of the same shape, before the first step.

        Raises:
            ValueError: The run has begun.
        """
        if self.step:
            raise ValueError(f"weights: got some at step {self.step}, expected none after step 0")
        self.model.load_state_dict(weights.state_dict())
        self.ema = [parameter.detach().clone() for parameter in self.parameters]

    def loss(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Weighted squared error of each crop (B,): that of the raw network at unit variance."""
        clean, noise, sigma = (
            value.to(self.device, non_blocking=True) for value in (clean, noise, sigma)
        )
        half = self.config.precision == "bfloat16"
        s = sigma[:, None, None, None]
        data = self.config.model.sigma_data
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            estimate = self.model(clean + s * noise, sigma)
        weight = (sigma.square() + data**2) / (sigma * data).square()
        return weight * (estimate - clean).square().mean(dim=(1, 2, 3))

    def aim(self, losses: Tensor) -> Tensor:
        """What a step lowers, from the loss of each crop; see `TrainingConfig.log_floor`."""
        floor = self.config.log_floor
        return ((losses + floor).log() if floor > 0 else losses).mean()

    def advance(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Take one step. Returns the loss of each crop (B,) and its noise level (B,)."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(config, self.step)
        losses = self.loss(*batch)
        self.aim(losses).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, config.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
        self.step += 1
        return losses.detach(), batch[2]

    def ema_weights(self) -> dict[str, Tensor]:
        """The running mean of the weights by name, float32."""
        names = [name for name, _ in self.model.named_parameters()]
        return dict(zip(names, self.ema, strict=True))

    def state(self) -> dict:
        """All that a resumed run needs, in types that `torch.load(weights_only=True)` reads."""
        return {
            "format": CHECKPOINT_FORMAT,
            "config": json.dumps(asdict(self.config)),
            "data": self.source.digest(),
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema_weights(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }

    def restore(self, state: dict, final_decay: int | None = None) -> None:
        """Continue from what `state` returned.

        Args:
            state: The checkpoint.
            final_decay: End the run with this many more steps of falling learning rate, from the
                rate of the checkpoint's step (from the peak where the run was finished).

        Raises:
            ConfigMismatch: The state comes from another configuration or other pictures.
        """
        check_same(config_from_json(state["config"]), self.config)
        if state["data"] != self.source.digest():
            raise ConfigMismatch(
                "the pictures are not those that the run was started with: digest "
                f"{self.source.digest()}, expected {state['data']}"
            )
        self.model.load_state_dict(state["model"])
        self.ema = [
            state["ema"][name].to(self.device, copy=True, memory_format=torch.preserve_format)
            for name, _ in self.model.named_parameters()
        ]
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]
        if final_decay is not None:
            self.config = with_final_decay(self.config, self.step, final_decay)


def config_from_json(text: str) -> TrainingConfig:
    """Read a configuration from the JSON that a checkpoint holds."""
    values = json.loads(text)
    values["model"] = DenoiserConfig(**values["model"])
    values["crops"] = CropConfig(**values["crops"])
    values["leaves"] = DeadLeavesConfig(**values["leaves"])
    return TrainingConfig(**values)


def check_same(old: TrainingConfig, new: TrainingConfig) -> None:
    """Compare two configurations.

    Raises:
        ConfigMismatch: They differ; the message lists every difference.
    """
    refuse_differences(vars(old), vars(new))


def check_new(out: str | Path, final_decay: int | None = None) -> None:
    """Check that a new run may start in a folder.

    Raises:
        FileExistsError: The folder holds a checkpoint.
        ValueError: A final decay is asked for, which only a resumed run can have.
    """
    checkpoint = Path(out) / CHECKPOINT
    if final_decay is not None:
        raise ValueError(f"final_decay: got {final_decay} for a new run, expected a run to resume")
    if checkpoint.exists():
        raise FileExistsError(f"out: {checkpoint} exists; resume the run or choose another folder")


def read_checkpoint(path: str | Path) -> dict:
    """Read a checkpoint.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is not a checkpoint of this package.
    """
    return read_state(path, CHECKPOINT_FORMAT)


def write_checkpoint(trainer: Trainer, path: Path) -> None:
    """Write a checkpoint in one indivisible replacement.

    Raises:
        OSError: The file cannot be written; an earlier one at `path` stays intact.
    """
    write_state(trainer.state(), path)


def export(trainer_or_checkpoint: Trainer | str | Path, path: str | Path) -> dict:
    """Write the running mean of the weights as a float16 safetensors file.

    Args:
        trainer_or_checkpoint: A trainer, or the path of a checkpoint.
        path: The file to write; `ddrm_fast.priors.denoiser.load_denoiser` reads it.

    Returns:
        The training summary that the file carries.

    Raises:
        OSError: The file cannot be written; an earlier one at `path` stays intact.
    """
    if isinstance(trainer_or_checkpoint, Trainer):
        config, step = trainer_or_checkpoint.config, trainer_or_checkpoint.step
        ema = trainer_or_checkpoint.ema_weights()
    else:
        state = read_checkpoint(trainer_or_checkpoint)
        config, step, ema = config_from_json(state["config"]), state["step"], state["ema"]
    weights = {name: value.to(torch.float16).contiguous() for name, value in ema.items()}
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
) -> CropSource:
    """Load the photographs and draw the dead leaves of a run.

    Args:
        config: The run.
        folders: Folders of photographs; none are needed where leaves_share is 1.
        workers: Processes that draw dead leaves.
        cache: Folder where the dead leaves are kept, so that a resumed run need not draw them.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: There is nothing to draw from.
    """
    needed = config.leaves_share < 1
    if needed and not folders:
        raise ValueError(
            "folders: got none, expected a folder of photographs where the share of dead leaves is "
            f"{config.leaves_share} (a share of 1 needs none)"
        )
    photographs = load_folders(folders if needed else [], config.crops.patch)
    skipped = len(photographs.unreadable), len(photographs.too_small)
    logger.info("%d photographs; skipped: %d unreadable, %d too small", len(photographs), *skipped)
    if needed and not len(photographs):
        raise ValueError(
            f"folders: no usable picture in {', '.join(map(str, folders))} (skipped: {skipped[0]} "
            f"unreadable, {skipped[1]} with a side below {config.crops.patch} pixels)"
        )
    count = config.leaves_count if config.leaves_share > 0 else 0
    leaves = kept_leaves(config.seed, count, config.leaves, workers, cache)
    return CropSource(photographs, leaves, config.leaves_share, config.crops, config.seed)


def train(
    config: TrainingConfig,
    source: CropSource,
    out: str | Path,
    *,
    start_from: Denoiser | None = None,
    resume: bool = False,
    final_decay: int | None = None,
    stop_at: int | None = None,
    checkpoint_minutes: float = 10.0,
    device: str | torch.device = "cpu",
    loaders: int = 0,
    share_cpu: bool = False,
    progress: bool = True,
    on_step: Callable[[int, float], None] | None = None,
) -> Trainer:
    """Run or continue a training.

    SIGINT and SIGTERM end it after the current step, with a checkpoint.

    Args:
        config: The run.
        source: Where the crops come from.
        out: Folder for checkpoint.pt, denoiser.safetensors (the export) and log.jsonl.
        start_from: Start a new run from these weights (`load_denoiser`) instead of random ones.
        resume: Continue from the checkpoint in `out`, which must exist.
        final_decay: With resume: let the learning rate fall to zero over this many more steps,
            then end, whatever the schedule of the checkpoint was.
        stop_at: Stop, with a checkpoint, before this step; the schedule is still that of the
            whole run.
        checkpoint_minutes: Minutes between checkpoints, each with an export.
        device: Where the network learns.
        loaders: Processes that make batches ahead, for a network that learns faster than one thread
            makes them; 0: one thread. The batches are the same.
        share_cpu: Use fewer threads while other programs are busy. The number of threads changes
            sums in their last bits, so such a run repeats closely, not bit for bit.
        progress: Show a progress bar on standard error.
        on_step: Called after each step with its number and mean loss.

    Returns:
        The trainer in its last state.

    Raises:
        FileExistsError: `out` holds a checkpoint and `resume` is false.
        FileNotFoundError: `resume` is true and `out` holds no checkpoint.
        ConfigMismatch: The checkpoint belongs to another configuration or other pictures.
        OSError: The last checkpoint could not be written (a failure before the end is logged, and
            the run goes on).
    """
    out = Path(out)
    checkpoint = out / CHECKPOINT
    if loaders < 0:
        raise ValueError(f"loaders: got {loaders}, expected 0 or more")
    trainer = Trainer(config, source, device)
    if resume:
        trainer.restore(read_checkpoint(checkpoint), final_decay)
    else:
        check_new(out, final_decay)
        if start_from is not None:
            trainer.start_from(start_from)
    out.mkdir(parents=True, exist_ok=True)
    end = trainer.config.steps
    end = end if stop_at is None else min(stop_at, end)
    threads = torch.get_num_threads()
    share = CpuShare(threads) if share_cpu else None
    try:
        with stop_signal() as stopped:
            seconds = checkpoint_minutes * 60
            _loop(trainer, end, out, seconds, share, progress, on_step, stopped, loaders)
    finally:
        torch.set_num_threads(threads)
    write_checkpoint(trainer, checkpoint)
    export(trainer, out / WEIGHTS)
    return trainer


def _loop(
    trainer: Trainer,
    end: int,
    out: Path,
    checkpoint_seconds: float,
    share: CpuShare | None,
    progress: bool,
    on_step: Callable[[int, float], None] | None,
    stopped: threading.Event,
    loaders: int,
) -> None:
    report = _Report(trainer.step, end, trainer.config.batch, out / LOG, progress)
    saved = time.monotonic()
    pin = trainer.device.type == "cuda"
    source = batches(trainer.config, trainer.source, trainer.step, end, loaders, pin)
    try:
        for batch in source:
            if stopped.is_set():
                break
            if share is not None and share.threads() != torch.get_num_threads():
                torch.set_num_threads(share.threads())
            losses, sigma = trainer.advance(batch)
            mean = float(losses.mean())
            if not math.isfinite(mean):
                raise FloatingPointError(f"the loss became {mean} at step {trainer.step - 1}")
            report.add(trainer.step, losses, sigma)
            if on_step is not None:
                on_step(trainer.step, mean)
            if time.monotonic() - saved >= checkpoint_seconds:
                try:
                    write_checkpoint(trainer, out / CHECKPOINT)
                    export(trainer, out / WEIGHTS)
                except OSError as error:
                    logger.warning("no checkpoint at step %d: %s", trainer.step, error)
                saved = time.monotonic()
    finally:
        source.close()
        report.close()


class _Report:
    """Progress bar, and one line a minute in log.jsonl."""

    def __init__(self, start: int, end: int, batch: int, log: Path, progress: bool) -> None:
        self.batch, self.log = batch, log
        self.bar = tqdm(
            total=end, initial=start, disable=not progress, mininterval=2, maxinterval=60,
            unit="step", smoothing=0.05,
        )  # fmt: skip
        self.began, self.count, self.total = time.monotonic(), 0, 0.0
        self.useful: list[float] = []
        self.shown = time.monotonic()

    def add(self, step: int, losses: Tensor, sigma: Tensor) -> None:
        self.count += 1
        self.total += float(losses.mean())
        band = (sigma > 0.1) & (sigma < 0.8)
        self.useful += losses.cpu()[band].tolist()
        self.bar.update(1)
        now = time.monotonic()
        if now - self.shown >= 2:
            rate = self.count * self.batch / (now - self.began)
            self.bar.set_postfix(
                {"loss": f"{self.total / self.count:.4f}", "patches/s": f"{rate:.0f}"},
                refresh=False,
            )
            self.shown = now
        if now - self.began >= 60:
            self.flush(step, now)

    def flush(self, step: int, now: float) -> None:
        line = {
            "step": step,
            "loss": round(self.total / max(1, self.count), 5),
            "loss_sigma_0.1_to_0.8": round(sum(self.useful) / max(1, len(self.useful)), 5),
            "patches_per_second": round(self.count * self.batch / (now - self.began), 1),
            "unix_time": round(time.time()),
        }
        try:
            with open(self.log, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            logger.warning("log line lost: %s", error)
        self.began, self.count, self.total, self.useful = now, 0, 0.0, []

    def close(self) -> None:
        self.bar.close()
