"""Training: one loop for every network that is taught here.

A :class:`Learner` says what is drawn for a step and what is lowered; the loop takes the steps, keeps
checkpoints, and goes on after a stop as if there had been none. The rooms of the networks bring their
learners (`training.denoiser`, `ddpm.learner`); this one knows none of them.
"""

from .files import ConfigMismatch
from .fit import Fit, learning_rate_at, with_final_decay
from .learner import Learner
from .loop import train
from .processes import OneProcess, launched
from .report import Shown

__all__ = [
    "ConfigMismatch",
    "Fit",
    "Learner",
    "OneProcess",
    "Shown",
    "launched",
    "learning_rate_at",
    "train",
    "with_final_decay",
]
