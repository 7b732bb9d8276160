"""The published DPS and MCG, on this package's fused steps.

Names, arguments and quirks are those of ``DPS2022/diffusion-posterior-sampling`` (``guided_diffusion/`` and
``util/img_utils.py``): its ``sample_condition.py`` runs after changing its import lines, on any device.
Pictures are in [-1, 1]. ``corrected=True`` in the constructors mends what is wrong there;
``docs/fidelity.md`` lists it.

Chung, Kim, McCann, Klasky, Ye, "Diffusion Posterior Sampling for General Noisy Inverse Problems", ICLR
2023. Chung, Sim, Ryu, Ye, "Improving Diffusion Models for Inverse Problems using Manifold Constraints",
NeurIPS 2022.
"""

from .conditioning import (
    ConditioningMethod,
    get_conditioning_method,
    register_conditioning_method,
)
from .masks import mask_generator
from .model import create_model
from .noises import Noise, get_noise, register_noise
from .operators import LinearOperator, NonLinearOperator, get_operator, register_operator
from .process import SpacedDiffusion, get_named_beta_schedule, space_timesteps
from .sampler import clear_color, create_sampler, register_sampler

__all__ = [
    "ConditioningMethod",
    "LinearOperator",
    "Noise",
    "NonLinearOperator",
    "SpacedDiffusion",
    "clear_color",
    "create_model",
    "create_sampler",
    "get_conditioning_method",
    "get_named_beta_schedule",
    "get_noise",
    "get_operator",
    "mask_generator",
    "register_conditioning_method",
    "register_noise",
    "register_operator",
    "register_sampler",
    "space_timesteps",
]
