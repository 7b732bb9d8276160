"""Samplers: weight functions, edits, and the one loop that runs them."""

from ..machine.arguments import check_made
from .daps import DAPS, PnPDM
from .ddim import DDIM
from .ddnm import DDNM, DDNMPlus
from .ddpm import DDPM
from .ddrm import DDRM
from .ddrm_jpeg import DDRMJPEG
from .diffpir import DiffPIR
from .dpm_solver import DPMSolver
from .dps import DPS, LGD, MCG
from .drawing import Batch, Drawing
from .edits import Clip, ClipKeepingNoise, Edit, EndOnMeasurement, Guidance, Hold, Known
from .heun import Heun
from .hqs import HQS
from .ilvr import ILVR
from .loop import run, run_batch
from .pigdm import PiGDM
from .red import RED
from .red_diff import REDDiff
from .repaint import RePaint
from .snips import SNIPS
from .state import Item, State, StepInfo
from .steps import Steps, parse_steps
from .travel import Travel
from .weights import Branch, Sampler, Weights

__all__ = [
    "DAPS",
    "DDIM",
    "DDNM",
    "DDPM",
    "DDRM",
    "DDRMJPEG",
    "DPS",
    "ILVR",
    "LGD",
    "MCG",
    "Batch",
    "Branch",
    "Clip",
    "ClipKeepingNoise",
    "DDNMPlus",
    "DPMSolver",
    "DiffPIR",
    "Drawing",
    "Edit",
    "EndOnMeasurement",
    "HQS",
    "Guidance",
    "Heun",
    "Hold",
    "Item",
    "Known",
    "PiGDM",
    "PnPDM",
    "RED",
    "REDDiff",
    "RePaint",
    "SNIPS",
    "Sampler",
    "State",
    "StepInfo",
    "Steps",
    "Travel",
    "Weights",
    "parse_steps",
    "run",
    "run_batch",
]

check_made(
    DAPS, DDIM, DDNM, DDNMPlus, DDPM, DDRM, DPMSolver, DPS, DiffPIR, Drawing, Heun, HQS, ILVR, LGD, MCG,
    DDRMJPEG, PiGDM, PnPDM, RED, REDDiff,
    RePaint, SNIPS, Steps, Travel, Clip, ClipKeepingNoise, EndOnMeasurement, Guidance,
)  # fmt: skip
