"""Every task, once: from here the shell, records, benchmarks, documents and the laws of operators know it.

No module of the package is imported here; ``make`` and its like say where things are.
"""

from __future__ import annotations

from .entries import Registry, Task
from .parameters import Choice, GreyWeights, Kernel, Mask, Number, Plane, Tables, Whole

#: tasks by name
TASKS: Registry[Task] = Registry("task")

_FACTOR = Whole(
    name="factor", help="side of a block, ratio of the resolutions", required=True, example="4"
)
_MASK = Mask(
    name="mask",
    help="which pixels are known: FILE (a picture or .npy, white where known), random:SHARE of the pixels "
    "missing (degrade alone), box:TOP,LEFT,HEIGHT,WIDTH missing (pixels), or bayer:RGGB, the colours that a "
    "camera's sensor saw",
    required=True,
    example="mask.png",
)
_WEIGHTS = GreyWeights(
    name="weights", help="grey weights, divided by their sum", usual="a third each",
    default=(1 / 3, 1 / 3, 1 / 3), example="0.299,0.587,0.114",
)  # fmt: skip
_KERNEL = Kernel(
    name="kernel",
    help=f"{Kernel.WORDS} (in pixels, ANGLE in degrees counter-clockwise from the horizontal); divided by "
    "its sum",
    required=True,
    example="motion:15,30",
)
_RATIO = Number(
    name="ratio", help="keep one coefficient of N", low=1, required=True, example="4", metavar="N"
)

TASKS.register(
    Task(
        name="noise",
        aliases=("denoise", "denoising"),
        summary="white noise alone",
        complaint="grain: little light, a high ISO setting",
        make="ddrm_fast.operators:Denoising",
        regions="ddrm_fast.problems.regions:pixels",
        examples={"denoising": {}},
        cases={f"noise-{level}": (level / 255, {}) for level in (15, 25, 50, 100)},
    )
)
TASKS.register(
    Task(
        name="sr",
        aliases=("super-resolution", "superresolution", "upscale"),
        summary="low resolution: means of factor x factor pixels",
        complaint="too small: a thumbnail, a sensor of few pixels",
        make="ddrm_fast.operators:SuperResolution",
        parameters=(_FACTOR,),
        smaller_by="factor",
        multiple_of="factor",
        regions="ddrm_fast.problems.regions:block_means",
        examples={"super-resolution x4": {"factor": "4"}},
        cases={
            "sr2": (0.0, {"factor": "2"}),
            "sr2-noise": (0.05, {"factor": "2"}),
            "sr4": (0.0, {"factor": "4"}),
            "sr4-noise": (0.05, {"factor": "4"}),
        },
    )
)
TASKS.register(
    Task(
        name="bicubic",
        summary="low resolution: antialiased bicubic downscaling",
        complaint="too small: a program made it smaller",
        make="ddrm_fast.operators:BicubicDownscaling",
        parameters=(_FACTOR,),
        smaller_by="factor",
        multiple_of="factor",
        examples={"bicubic x4": {"factor": "4"}},
    )
)
TASKS.register(
    Task(
        name="blursr",
        summary="low resolution: any blur, then every factor-th pixel",
        complaint="too small and not sharp: a lens softer than its sensor",
        make="ddrm_fast.operators:BlurDecimate",
        parameters=(_FACTOR, _KERNEL),
        smaller_by="factor",
        multiple_of="factor",
        kernel="kernel",
        examples={"blur + decimation x4": {"factor": "4", "kernel": "gaussian:2"}},
    )
)
TASKS.register(
    Task(
        name="inpaint",
        aliases=("inpainting", "demosaicing"),
        summary="missing pixels",
        complaint="holes: scratches, text, dead pixels, a raw sensor pattern",
        make="ddrm_fast.operators:Inpainting",
        parameters=(_MASK,),
        known="mask",
        regions="ddrm_fast.problems.regions:pixels",
        examples={"inpainting": {"mask": "random:0.5"}},
        cases={"inpaint-50": (0.0, {"mask": "random:0.5"})},
    )
)
TASKS.register(
    Task(
        name="blur",
        aliases=("deblur", "deblurring"),
        summary="blur",
        complaint="not sharp: a shaken camera, out of focus",
        make="ddrm_fast.operators:Blur",
        parameters=(
            _KERNEL,
            Choice(
                name="boundary",
                help="what a blur saw beyond the edges",
                usual="a picture: unknown, continued smoothly; degrade: reflect where it can be",
                choices=("reflect", "periodic"),
                example="reflect",
            ),
        ),
        kernel="kernel",
        prepare="ddrm_fast.problems.drawn:boundary",
        regions="ddrm_fast.problems.regions:reflected_blur",
        examples={
            "blur (FFT)": {"kernel": "gaussian:2", "boundary": "periodic"},
            "blur (DCT)": {"kernel": "gaussian:2", "boundary": "reflect"},
        },
        cases={
            "blur": (0.05, {"kernel": "uniform:9"}),
            "blur-motion": (0.01, {"kernel": "motion:15,30"}),
        },
    )
)
TASKS.register(
    Task(
        name="color",
        aliases=("colour", "colorization", "colorize", "grey"),
        summary="lost colour",
        complaint="black and white",
        make="ddrm_fast.operators:Colorization",
        parameters=(_WEIGHTS,),
        grey=True,
        regions="ddrm_fast.problems.regions:block_means",
        examples={"colorization": {}},
        cases={"color": (0.0, {})},
    )
)
TASKS.register(
    Task(
        name="cs",
        aliases=("walsh-hadamard",),
        summary="compressed sensing: some Walsh-Hadamard coefficients",
        complaint="no picture yet: a single-pixel camera's measurements",
        make="ddrm_fast.problems.drawn:walsh_hadamard",
        parameters=(_RATIO,),
        shown=False,
        multiple_of="power of two",
        prepare="ddrm_fast.problems.drawn:kept_coefficients",
        examples={"Walsh-Hadamard 25 %": {"ratio": "4"}},
    )
)
TASKS.register(
    Task(
        name="blockcs",
        summary="compressed sensing of blocks in a random basis",
        complaint="no picture yet: random sums of the pixels of each block",
        make="ddrm_fast.problems.drawn:block_cs",
        parameters=(
            _RATIO,
            Whole(name="block", help="side of a block", low=2, high=64, default=16, example="16"),
        ),
        shown=False,
        multiple_of="block",
        prepare="ddrm_fast.problems.drawn:random_basis",
        examples={"blocks of 16 x 16, 25 %": {"block": "16", "ratio": "4"}},
        cases={"blockcs-25": (0.0, {"ratio": "4"})},
    )
)
TASKS.register(
    Task(
        name="oldphoto",
        aliases=("old-photo",),
        summary="old photograph: grey, damaged, and small",
        complaint="an old print, scanned: black and white, scratched, and small",
        make="ddrm_fast.operators:SuperResolution",
        parameters=(_FACTOR, _MASK, _WEIGHTS),
        grey=True,
        smaller_by="factor",
        multiple_of="factor",
        regions="ddrm_fast.problems.regions:block_means",
        examples={"old photo x2": {"factor": "2", "mask": "random:0.5", "weights": "0.3,0.5,0.2"}},
    )
)
TASKS.register(
    Task(
        name="gain",
        aliases=("vignette", "vignetting"),
        summary="uneven brightness",
        complaint="dark corners, uneven light",
        make="ddrm_fast.operators:Gain",
        parameters=(
            Plane(
                name="gain",
                help=f"brightness of each pixel: {Plane.WORDS}, from 1 in the centre to CORNER, 0 to 1",
                required=True,
                example="vignette:0.3",
                metavar="GAIN",
            ),
        ),
        examples={"gain": {"gain": "vignette:0.3"}},
    )
)
TASKS.register(
    Task(
        name="jpeg",
        aliases=("jpg", "deblocking"),
        summary="JPEG compression",
        complaint="blocks and ringing: a JPEG file that was made too small",
        make="ddrm_fast.problems.compressed:jpeg",
        parameters=(
            Whole(
                name="jpeg_quality", help="1 to 100, of the usual encoder", high=100, example="30",
                usual="the tables of the JPEG file itself",
            ),
            Tables(
                name="tables", help="a JPEG file with the same tables, for a picture that was saved anew",
                example="photo.jpg", metavar="FILE",
            ),
            Choice(
                name="subsampling", help="of the colours", choices=("4:2:0", "4:2:2", "4:4:0", "4:4:4"),
                usual="that of the JPEG file, else 4:2:0", example="4:2:0",
            ),
        ),
        exact=True,
        prepare="ddrm_fast.problems.compressed:tables_of",
        of_file="ddrm_fast.problems.compressed:of_file",
        cases={f"jpeg-{quality}": (0.0, {"jpeg_quality": f"{quality}"}) for quality in (15, 40, 75)},
    )
)  # fmt: skip
TASKS.register(
    Task(
        name="quantize",
        aliases=("quantise", "banding", "posterize"),
        summary="few bits: the nearest of 2^bits values",
        complaint="bands in the sky: too few colours",
        make="ddrm_fast.operators:Quantised",
        parameters=(
            Whole(name="bits", help="of each channel", high=16, default=3, example="3"),
            Choice(
                name="dither",
                help="noise of one step before rounding",
                choices=("no", "yes"),
                example="yes",
                default="no",
            ),
        ),
        exact=True,
        prepare="ddrm_fast.problems.compressed:dither_of",
        cases={"quantize-2": (0.0, {"bits": "2"})},
    )
)
TASKS.register(
    Task(
        name="saturate",
        aliases=("hdr", "clipping", "overexposed"),
        summary="too much light: a gain, then everything above white is white",
        complaint="overexposed: white patches",
        make="ddrm_fast.operators:Saturated",
        regions="ddrm_fast.operators:Saturated",
        parameters=(Number(name="gain", help="> 1: brighter", low=0, default=2.0, example="2"),),
        cases={"saturate-2": (0.0, {"gain": "2"})},
    )
)
TASKS.register(
    Task(
        name="gamma",
        summary="a gamma curve: x^gamma",
        complaint="too dark or too bright: a wrong gamma",
        make="ddrm_fast.operators:Gamma",
        regions="ddrm_fast.operators:Gamma",
        parameters=(Number(name="gamma", help="> 1: darker", low=0, default=2.2, example="2.2"),),
    )
)
TASKS.register(
    Task(
        name="phase",
        aliases=("phase-retrieval",),
        summary="phase retrieval: magnitudes of an oversampled Fourier transform",
        complaint="no picture yet: a diffraction pattern",
        make="ddrm_fast.operators:PhaseRetrieval",
        parameters=(
            Number(
                name="oversample", help="zeros on every side, in eighths of the shorter one", low=0,
                default=2.0, example="2",
            ),
        ),
        shown=False,
    )
)  # fmt: skip
