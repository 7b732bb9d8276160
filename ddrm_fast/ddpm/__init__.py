"""DDPM: the discrete-time process, its objectives and bound, and training (Ho et al. 2020)."""

from .bound import Bound, bound, discretised_log_likelihood, normal_kl, prior_term, step_term
from .config import DDPMConfig
from .networks import build_network, own_network
from .objective import Losses, Objective
from .process import Process
from .reverse import Reverse, Step

__all__ = [
    "Bound",
    "DDPMConfig",
    "Losses",
    "Objective",
    "Process",
    "Reverse",
    "Step",
    "bound",
    "build_network",
    "discretised_log_likelihood",
    "normal_kl",
    "own_network",
    "prior_term",
    "step_term",
]
