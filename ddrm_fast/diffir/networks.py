"""The two stages of DiffIR."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..ops import Stream, noise_keys, normal
from .config import PRIOR, DiffIRConfig
from .diffusion import Denoiser, VectorDiffusion
from .encoder import CPEN
from .generator import DIRformer


def start_vectors(batch: int, seed: int | Tensor = 0, sample: int | Tensor | None = None) -> Tensor:
    """x_T of the prior vector, (B, 256), from our noise.

    Args:
        batch:
            Number of vectors.
        seed:
            One for all, or int64 [B].
        sample:
            Number of the draw, one for all or int64 [B]; default 0, 1, ..., B - 1.
    """
    keys = noise_keys(batch, seed, sample)
    return normal(keys, 1, 1, PRIOR, stream=Stream.PRIOR_VECTOR)[:, 0, 0]


class DiffIRS1(nn.Module):
    """Stage 1: the prior vector comes from the input and the ground truth.

    Args:
        config:
            Its shape, with stage 1.
    """

    def __init__(self, config: DiffIRConfig) -> None:
        super().__init__()
        self.config = _of_stage(config, 1)
        self.G = DIRformer(config)
        self.E = _encoder(config)

    def forward(self, x: Tensor, gt: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The restored picture; in training with the list [prior vector], as published.

        Args:
            x:
                (B, C, H, W) in [0, 1], sides multiples of ``config.multiple``.
            gt:
                Ground truth, (B, 3, H scale, W scale).

        Raises:
            ValueError: A shape does not fit.
        """
        check_input(self.config, x)
        check_truth(self.config, x, gt)
        prior = self.E(x, gt)
        out = self.G(x, prior)
        return (out, [prior]) if self.training else out


class DiffIRS2(nn.Module):
    """Stage 2: a diffusion makes the prior vector from the input alone.

    Args:
        config:
            Its shape, with stage 2.
    """

    def __init__(self, config: DiffIRConfig) -> None:
        super().__init__()
        self.config = _of_stage(config, 2)
        self.G = DIRformer(config)
        self.condition = _encoder(config)
        self.denoise = Denoiser(config.n_denoise_res, config.timesteps)
        self.diffusion = VectorDiffusion(
            self.denoise, self.condition, config.timesteps, config.linear_start, config.linear_end
        )

    def prior(self, c: Tensor, x_T: Tensor) -> Tensor:
        """The prior vector (B, 256) of condition vectors c, from the first states x_T."""
        return self.diffusion.chain(x_T.to(c), c)[0][-1]

    def forward(
        self,
        x: Tensor,
        prior_S1: Tensor | None = None,
        x_T: Tensor | None = None,
        noise: Tensor | None = None,
        seed: int = 0,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """The restored picture; in training with the list of all T states, as published.

        Args:
            x:
                (B, C, H, W) in [0, 1], sides multiples of ``config.multiple``.
            prior_S1:
                Training: the vector of stage 1, (B, 256), which the chain starts from.
            x_T:
                Evaluation: first state of the chain, (B, 256); None: from our noise by ``seed``.
            noise:
                Training: what is added to prior_S1, (B, 256); None: from torch's generator.
            seed:
                Of x_T.

        Raises:
            ValueError: A shape does not fit, or something is missing.
        """
        check_input(self.config, x)
        if self.training:
            if prior_S1 is None:
                raise ValueError("prior_S1: got None, expected stage 1's vector: this is training")
            check_vector("prior_S1", prior_S1, x)
            start = self.diffusion.noisy(
                prior_S1, torch.randn_like(prior_S1) if noise is None else noise
            )
            states, _ = self.diffusion.chain(start, self.condition(x))
            return self.G(x, states[-1]), states
        if x_T is None:
            x_T = start_vectors(len(x), seed).to(x.device)
        check_vector("x_T", x_T, x)
        return self.G(x, self.prior(self.condition(x), x_T))


Network = DiffIRS1 | DiffIRS2


def build(config: DiffIRConfig) -> Network:
    """A network with random weights, of the configuration's stage."""
    return (DiffIRS1 if config.stage == 1 else DiffIRS2)(config)


def _of_stage(config: DiffIRConfig, stage: int) -> DiffIRConfig:
    if config.stage != stage:
        raise ValueError(f"config: is of stage {config.stage}, expected stage {stage}")
    return config


def _encoder(config: DiffIRConfig) -> CPEN:
    return CPEN(config.encoder_channels, config.n_encoder_res, config.encoder_unshuffle)


def check_input(config: DiffIRConfig, x: Tensor) -> None:
    """Raises ValueError unless x fits the network, sides included."""
    channels, multiple = config.inp_channels, config.multiple
    if x.dim() != 4 or x.shape[1] != channels:
        mask = " (the picture and a mask)" if config.task == "inpainting" else ""
        raise ValueError(f"x: got shape {tuple(x.shape)}, expected (B, {channels}, H, W){mask}")
    if not x.is_floating_point():
        raise ValueError(f"x: got {x.dtype}, expected floating point in [0, 1]")
    if 0 in x.shape[2:] or x.shape[2] % multiple or x.shape[3] % multiple:
        raise ValueError(
            f"x: got sides {tuple(x.shape[2:])}, expected multiples of {multiple}; "
            "ddrm_fast.diffir.restore pads any size"
        )


def check_truth(config: DiffIRConfig, x: Tensor, gt: Tensor) -> None:
    """Raises ValueError unless the ground truth fits the input."""
    sides = (x.shape[2] * config.scale, x.shape[3] * config.scale)
    expected = (x.shape[0], config.out_channels, *sides)
    if tuple(gt.shape) != expected:
        raise ValueError(f"gt: got shape {tuple(gt.shape)}, expected {expected}")


def check_vector(name: str, z: Tensor, x: Tensor) -> None:
    """Raises ValueError unless z is one prior vector for each picture."""
    if tuple(z.shape) != (x.shape[0], PRIOR):
        raise ValueError(f"{name}: got shape {tuple(z.shape)}, expected ({x.shape[0]}, {PRIOR})")
