"""DDPM: the discrete-time process, its objectives and bound, and training (Ho et al. 2020)."""

from ..training.data.sized import Pictures, load_pictures
from ..training.loop import Shown
from .config import DDPMConfig
from .files import as_prior, load_ddpm, save_ddpm
from .learner import Trainer, train
from .likelihood import Bound, bound, discretised_log_likelihood, normal_kl, prior_term, step_term
from .networks import build_network, own_network
from .objective import Losses, Objective
from .process import Process
from .reverse import Reverse, Step

__all__ = [
    "Bound",
    "DDPMConfig",
    "Losses",
    "Objective",
    "Pictures",
    "Process",
    "Reverse",
    "Shown",
    "Step",
    "Trainer",
    "as_prior",
    "bound",
    "build_network",
    "discretised_log_likelihood",
    "load_ddpm",
    "load_pictures",
    "normal_kl",
    "own_network",
    "prior_term",
    "save_ddpm",
    "step_term",
    "train",
]
