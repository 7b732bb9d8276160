"""Every sampler, once: from here the shell, records and documents know it.

No module of the package is imported here. The laws of samplers hold what this says against the classes.
"""

from __future__ import annotations

from .entries import Registry, SamplerEntry
from .parameters import Choice, Number, Whole

#: samplers by name
SAMPLERS: Registry[SamplerEntry] = Registry("sampler")

_ETA = Number(name="eta", help="share of fresh noise, 0 to 1", low=0, high=1, default=0.85)
_VARIANCE = Choice(
    name="variance",
    help="of the noise of a step: the smaller or the larger of the two of Ho et al., or what the network "
    "learned",
    choices=("small", "large", "learned"),
    default="small",
)

SAMPLERS.register(
    SamplerEntry(
        name="hqs",
        aliases=("pnp-hqs", "dpir"),
        summary="the best estimate: denoises and fits the measurement in turn; nothing is drawn",
        make="ddrm_fast.samplers:HQS",
        steps=10,
        parameters=(
            Number(name="trust", help="hqs: in the denoiser, against the measurement", low=0, default=0.23),
            Choice(
                name="guess", help="hqs: where to start", choices=("smooth", "pinv"), default="smooth"
            ),
            Number(
                name="least_noise", help="hqs: noise that a measurement is taken to have at least",
                low=0, default=0.0039,
            ),
        ),
        advice="gives one picture, the same for every seed",
    )
)  # fmt: skip
SAMPLERS.register(
    SamplerEntry(
        name="ddrm",
        summary="follows the measurement as far as its noise allows, singular value by singular value",
        make="ddrm_fast.samplers:DDRM",
        steps=20,
        parameters=(
            _ETA,
            Number(
                name="eta_b", help="ddrm: trust in the measurement, 0 to 1", low=0, high=1, default=1.0
            ),
        ),
    )
)  # fmt: skip
SAMPLERS.register(
    SamplerEntry(
        name="diffpir",
        summary="the proximal step of hqs, then noise of the next level",
        make="ddrm_fast.samplers:DiffPIR",
        steps=100,
        parameters=(
            Number(name="trust", help="in the denoiser, against the measurement", low=0, default=7.0),
            Number(name="zeta", help="diffpir: share of fresh noise, 0 to 1", low=0, high=1, default=0.3),
            Number(
                name="least_noise", help="noise that a measurement is taken to have at least",
                low=0, default=0.001,
            ),
        ),
    )
)  # fmt: skip
_DECOUPLED = (
    Whole(name="calls", help="network calls of a step", default=4),
    Number(
        name="least_noise", help="noise that a measurement is taken to have at least",
        low=0, default=0.001,
    ),
)  # fmt: skip
SAMPLERS.register(
    SamplerEntry(
        name="daps",
        summary="to a clean image by several calls, a draw that fits the measurement, noise anew",
        make="ddrm_fast.samplers:DAPS",
        steps=50,
        parameters=(
            *_DECOUPLED,
            Number(name="width", help="daps: of the draw, in noise levels", low=0, default=1.0),
        ),
        advice="costs four network calls a step",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="pnp-dm",
        aliases=("pnpdm",),
        summary="split Gibbs: a draw that fits the measurement and one from the prior, in turn",
        make="ddrm_fast.samplers:PnPDM",
        steps=50,
        parameters=_DECOUPLED,
        advice="costs four network calls a step",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="dps",
        summary="steps down the distance to the measurement, through the network; any degradation",
        make="ddrm_fast.samplers:DPS",
        steps=1000,
        parameters=(
            Number(name="scale", help="dps: length of the step, for pictures in [-1, 1]", low=0, default=0.3),
            _VARIANCE,
            Choice(
                name="noise", help="dps: what the distance is weighted for",
                choices=("gaussian", "poisson"), default="gaussian",
            ),
            Number(
                name="eta", help="dps: share of fresh noise in steps of DDIM, 0 to 1",
                usual="ancestral steps", low=0, high=1,
            ),
            Whole(name="draws", help="dps: distances of so many pictures nearby", low=0, default=0),
            Number(name="spread", help="dps: of these, for pictures in [-1, 1]", low=0, default=0.03),
        ),
        advice="costs a call of the network forward and one back a step",
    )
)  # fmt: skip
SAMPLERS.register(
    SamplerEntry(
        name="mcg",
        summary="dps, then the measurement is put in",
        make="ddrm_fast.samplers:MCG",
        steps=1000,
        parameters=(
            Number(
                name="scale", help="length of the step, for pictures in [-1, 1]", low=0, default=1.0
            ),
            _VARIANCE,
        ),
        advice="takes the input for free of noise",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="lgd",
        summary="dps whose distance is a mean over draws of the clean image",
        make="ddrm_fast.samplers:LGD",
        steps=100,
        parameters=(
            Number(name="scale", help="length of the step, for pictures in [-1, 1]", low=0, default=0.3),
            Whole(name="draws", help="draws of the clean image in each step", default=4),
            Number(
                name="spread", help="of these, in deviations of the clean image", low=0, default=0.1
            ),
            Number(name="eta", help="share of fresh noise, 0 to 1", low=0, high=1, default=1.0),
        ),
        advice="costs a call of the network forward and one back a step",
    )
)  # fmt: skip
SAMPLERS.register(
    SamplerEntry(
        name="red-diff",
        aliases=("reddiff",),
        summary="an optimisation by Adam with the network as its regulariser; any degradation",
        make="ddrm_fast.samplers:REDDiff",
        steps=100,
        parameters=(
            Number(name="rate", help="red-diff: of Adam", low=0, default=0.1),
            Number(name="weight", help="red-diff: of the prior", low=0, default=0.25),
        ),
        advice="gives one picture, nearly the same for every seed",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="snips",
        summary="annealed Langevin dynamics in the singular basis",
        make="ddrm_fast.samplers:SNIPS",
        steps=50,
        parameters=(
            Whole(name="rounds", help="network calls at each noise level", default=2),
            Number(name="size", help="of a step, 0 to 1", low=0, high=1, default=0.3),
        ),
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="red",
        summary="regularisation by denoising at one level, a fixed point",
        make="ddrm_fast.samplers:RED",
        steps=1,
        parameters=(
            Whole(name="rounds", help="network calls at each noise level", default=30),
            Number(name="width", help="deviation given to a denoised picture", low=0, default=0.03),
        ),
        advice="gives one picture, the same for every seed",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="ddrm-jpeg",
        summary="ddrm with compression and back in the place of a projection; measurements that are pictures",
        make="ddrm_fast.samplers:DDRMJPEG",
        steps=20,
        parameters=(
            Number(name="eta", help="share of fresh noise, 0 to 1", low=0, high=1, default=1.0),
            Number(
                name="eta_b", help="trust in the measurement, 0 to 1", low=0, high=1, default=0.4
            ),
        ),
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="pigdm",
        summary="guidance by the pseudo-inverse, through the network",
        make="ddrm_fast.samplers:PiGDM",
        steps=100,
        parameters=(
            Number(name="eta", help="share of fresh noise, 0 to 1", low=0, high=1, default=1.0),
        ),
        advice="costs a call of the network forward and one back a step",
    )
)  # fmt: skip
SAMPLERS.register(
    SamplerEntry(
        name="ddnm",
        summary="puts the measurement into every prediction",
        make="ddrm_fast.samplers:DDNM",
        steps=100,
        parameters=(_ETA,),
        advice="takes the input for free of noise",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="ddnm+",
        aliases=("ddnmplus", "ddnm-plus"),
        summary="DDNM for a measurement with noise",
        make="ddrm_fast.samplers:DDNMPlus",
        steps=100,
        parameters=(_ETA,),
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="repaint",
        summary="noises the measurement at each step, and goes back up to let the rest follow it",
        make="ddrm_fast.samplers:RePaint",
        steps=250,
        parameters=(_VARIANCE,),
        advice="takes the input for free of noise",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="ilvr",
        summary="ancestral sampling whose measured part is that of the noised measurement",
        make="ddrm_fast.samplers:ILVR",
        steps=100,
        parameters=(_VARIANCE,),
        advice="takes the input for free of noise",
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="ddim",
        summary="draws from the prior, in any number of steps",
        make="ddrm_fast.samplers:DDIM",
        steps=50,
        parameters=(
            Number(name="eta", help="share of fresh noise, 0 to 1", low=0, high=1, default=0.0),
        ),
        restores=False,
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="ddpm",
        summary="draws from the prior by ancestral sampling, as it was trained",
        make="ddrm_fast.samplers:DDPM",
        steps=1000,
        parameters=(_VARIANCE,),
        restores=False,
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="dpm-solver",
        aliases=("dpmsolver", "dpm-solver++", "dpmpp-2m"),
        summary="draws from the prior in half as many steps as ddim, each from two clean images",
        make="ddrm_fast.samplers:DPMSolver",
        steps=20,
        restores=False,
    )
)
SAMPLERS.register(
    SamplerEntry(
        name="heun",
        summary="draws from the prior with two network calls a step",
        make="ddrm_fast.samplers:Heun",
        steps=20,
        restores=False,
    )
)
