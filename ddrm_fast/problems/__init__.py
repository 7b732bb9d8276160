"""What was measured: tasks made definite, measurements in files, edges, noise levels."""

from .arrays import gain, kernel, mask, pad
from .counts import Poisson, PoissonGaussian
from .degradation import Degradation, check_options, degradation, padded_size
from .edges import continue_blurred
from .likelihood import Gaussian
from .measured import Measured, has_measurement, of_picture, of_stored, read_measured
from .measurements import measure, operator_of, shown
from .noise import NoiseEstimate, estimate_noise, judge_noise, noise_floor, noise_of_file
from .problem import Problem
from .sensor_noise import estimate_sensor_noise

__all__ = [
    "Degradation",
    "Gaussian",
    "Measured",
    "NoiseEstimate",
    "Poisson",
    "PoissonGaussian",
    "Problem",
    "check_options",
    "continue_blurred",
    "degradation",
    "estimate_noise",
    "estimate_sensor_noise",
    "gain",
    "has_measurement",
    "judge_noise",
    "kernel",
    "mask",
    "measure",
    "noise_floor",
    "noise_of_file",
    "of_picture",
    "of_stored",
    "operator_of",
    "pad",
    "padded_size",
    "read_measured",
    "shown",
]
