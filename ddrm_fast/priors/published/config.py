"""What people write down about a published network, under the names that they have for it.

Three kinds of notes name the same things differently: the published constructor's arguments; the options of
guided-diffusion's and improved-diffusion's scripts (`model_and_diffusion_defaults()` and its relatives); and
the yaml files of DDIM, DDRM, DDNM and DPS with their sections. All become one :class:`Facts` here, and what
none of them knows is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..schedule import Schedule

#: name that people have -> name of the constructor, or of the schedule
_ALIASES = {
    "num_channels": "model_channels",
    "resamp_with_conv": "conv_resample",
    "steps": "diffusion_steps",
    "num_diffusion_timesteps": "diffusion_steps",
    "classifier_width": "model_channels",
    "classifier_depth": "num_res_blocks",
    "classifier_attention_resolutions": "attention_resolutions",
    "classifier_use_scale_shift_norm": "use_scale_shift_norm",
    "classifier_resblock_updown": "resblock_updown",
    "classifier_pool": "pool",
}
#: of training, of memory, or of their sampling loops: without meaning for a trained network here
_SILENT = frozenset({
    "dropout", "use_fp16", "use_checkpoint", "dims", "use_kl", "rescale_learned_sigmas", "timestep_respacing",
    "sigma_small", "classifier_use_fp16", "classifier_scale", "model_path", "var_type", "ema_rate",
    "dynamic_threshold", "clip_denoised", "sampler",
})  # fmt: skip
#: of the process, whatever the network
_PROCESS = frozenset({
    "noise_schedule", "diffusion_steps", "beta_schedule", "beta_start", "beta_end", "predict_xstart",
    "rescale_timesteps", "model_mean_type", "model_var_type", "learn_sigma", "class_cond", "ema", "type",
})  # fmt: skip
_SECTIONS = ("model", "diffusion", "data")
_OTHER_SECTIONS = frozenset({
    "dataset", "training", "optim", "sampling", "time_travel", "classifier", "metrics", "tpu", "eval",
    "conditioning", "measurement",
})  # fmt: skip
_KINDS = {"openai": "guided", "simple": "ddpm"}


@dataclass(frozen=True)
class Facts:
    """What was given, sorted.

    Args:
        network:
            Arguments of the published constructor, and ``image_size``.
        process:
            Betas, timesteps, prediction, variances and classes, by the names of the scripts.
        kind:
            "guided" or "ddpm", where a yaml file says so.
    """

    network: dict[str, Any] = field(default_factory=dict)
    process: dict[str, Any] = field(default_factory=dict)
    kind: str | None = None


def check_config(config: Mapping[str, Any] | None) -> None:
    """Raises ValueError unless settings come by name."""
    if config is not None and not isinstance(config, Mapping):
        raise ValueError(
            f"config: got {config!r}, expected a dict of the published constructor's arguments"
        )


def read_facts(config: Mapping[str, Any], known: Iterable[str], what: str) -> Facts:
    """Reads what was given about a network.

    Args:
        config:
            By any of the names above, flat or in sections.
        known:
            Arguments of the network's constructor.
        what:
            Name of the file, for messages.

    Raises:
        ValueError: A name is not known, or two names say different things; pictures are not in [-1, 1].
    """
    known = set(known) | {"image_size"}
    network: dict[str, Any] = {}
    process: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in _flattened(config):
        full = name if name in known else _ALIASES.get(name, name)
        if full in known:
            target = network
        elif full in _PROCESS:
            target = process
        elif name in ("large_size", "small_size"):
            raise ValueError(f"{what}: {SUPER_RESOLUTION}")
        else:
            unknown += [] if name in _SILENT else [name]
            continue
        if full in target and target[full] != value:
            raise ValueError(f"config: {name} is {value!r}, but elsewhere it is {target[full]!r}")
        target[full] = value
    if unknown:
        names = sorted(known | _PROCESS | set(_ALIASES))
        raise ValueError(
            f"config: unknown {', '.join(sorted(unknown))} for {what}; known: {', '.join(names)}"
        )
    kind = process.pop("type", None)
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"config: type is {kind!r}, expected one of {', '.join(_KINDS)}")
    return Facts(network, process, _KINDS.get(kind))


SUPER_RESOLUTION = (
    "guided-diffusion's SuperResModel, which is given an enlarged small picture beside the noisy one: no "
    "prior of pictures alone; to enlarge, take an unconditional network and operators.SuperResolution"
)


def _flattened(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values, those of the sections that concern the network among them."""
    sections = [name for name in _SECTIONS if isinstance(config.get(name), Mapping)]
    flat: list[tuple[str, Any]] = []
    for name, value in config.items():
        if name in sections and name != "data":
            flat += list(value.items())
        elif name == "data" and name in sections:
            _check_range(value)
            if "image_size" in value:
                flat.append(("image_size", value["image_size"]))
        elif not (name in _OTHER_SECTIONS and isinstance(value, Mapping)):
            flat.append((name, value))
    return flat


def _check_range(data: Mapping[str, Any]) -> None:
    """Refuses networks of pictures that are not in [-1, 1]."""
    if data.get("logit_transform"):
        raise ValueError("config: data.logit_transform is set, expected pictures in [-1, 1]")
    if data.get("rescaled") is False:
        raise ValueError(
            "config: data.rescaled is False: a network of pictures in [0, 1], expected [-1, 1]"
        )


def prediction_of(process: Mapping[str, Any]) -> str:
    """ "eps" or "x0".

    Raises:
        ValueError: Something else, or two settings contradict each other.
    """
    by_mean = {"epsilon": "eps", "eps": "eps", "start_x": "x0", "xstart": "x0"}
    kind = process.get("model_mean_type")
    if kind is not None and kind not in by_mean:
        raise ValueError(f"config: model_mean_type is {kind!r}, expected epsilon or start_x")
    said = {by_mean[kind]} if kind is not None else set()
    if "predict_xstart" in process:
        said.add("x0" if process["predict_xstart"] else "eps")
    if len(said) > 1:
        raise ValueError("config: predict_xstart and model_mean_type contradict each other")
    return said.pop() if said else "eps"


def time_factor(process: Mapping[str, Any], T: int, what: str) -> float:
    """What a timestep is multiplied by before it is shown to the network: 1000 / T with rescale_timesteps.

    Raises:
        ValueError: T is not 1000 and it is not said: improved-diffusion does it, guided-diffusion does not.
    """
    rescale = process.get("rescale_timesteps")
    if rescale is None and T != 1000:
        raise ValueError(
            f"{what}: with {T} timesteps the weights do not tell rescale_timesteps; give it as "
            "config={...} (True is improved-diffusion's default, False guided-diffusion's)"
        )
    return 1000 / T if rescale else 1.0


def check_output(process: Mapping[str, Any], channels: int, out: int, classes: int | None) -> None:
    """Compares what was given about variances and classes with the weights.

    Raises:
        ValueError: It contradicts them.
    """
    learned = {"learned": True, "learned_range": True, "fixed_small": False, "fixed_large": False}
    said = {"learn_sigma": process.get("learn_sigma")}
    said["model_var_type"] = learned.get(process.get("model_var_type", ""))
    for name, value in said.items():
        if value is not None and bool(value) != (out == 2 * channels):
            raise ValueError(
                f"config: {name} is {process[name]!r}, but the weights give {out} channels for {channels}"
            )
    if process.get("class_cond") is not None and bool(process["class_cond"]) != (
        classes is not None
    ):
        number = "no classes" if classes is None else f"{classes} classes"
        raise ValueError(
            f"config: class_cond is {process['class_cond']!r}, but the weights have {number}"
        )


def schedule_of(process: Mapping[str, Any], default: str = "linear") -> Schedule:
    """The betas, by the names of guided-diffusion (noise_schedule) or of DDIM (beta_schedule).

    Raises:
        ValueError: There is no such schedule, or no such number of timesteps.
    """
    kind, betas = process.get("noise_schedule"), process.get("beta_schedule")
    T = process.get("diffusion_steps", 1000)
    ranged = {"beta_start", "beta_end"} & set(process)
    if betas is not None and kind is not None:
        raise ValueError("config: noise_schedule and beta_schedule are both given, expected one")
    if betas is None and not ranged:
        return _scripts_schedule(kind or default, T)
    if kind is not None:
        raise ValueError(f"config: {min(ranged)} goes with beta_schedule, not with noise_schedule")
    made = {
        "linear": Schedule.linear, "quad": Schedule.quadratic, "sigmoid": Schedule.sigmoid,
        "const": lambda T, start, end: Schedule.constant(T, end), "jsd": lambda T, *_: Schedule.jsd(T),
    }  # fmt: skip
    betas = betas or "linear"
    if betas == "cosine":  # of later forks, as guided-diffusion's
        return _scripts_schedule("cosine", T)
    if betas not in made:
        raise ValueError(f"config: beta_schedule is {betas!r}, expected one of {', '.join(made)}")
    start, end = process.get("beta_start", 1e-4), process.get("beta_end", 2e-2)
    for name, value in (("beta_start", start), ("beta_end", end)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise ValueError(f"config: {name} is {value!r}, expected a number between 0 and 1")
    return made[betas](_timesteps(T, 1), start, end)


def _scripts_schedule(kind: Any, T: Any) -> Schedule:
    """Linear betas that end at 20 / T, or a squared cosine."""
    T = _timesteps(T, 20 if kind == "linear" else 1)
    if kind == "linear":
        return Schedule.linear(T, 0.1 / T, 20.0 / T)
    if kind == "cosine":
        return Schedule.cosine(T)
    raise ValueError(f"config: noise_schedule is {kind!r}, expected 'linear' or 'cosine'")


def _timesteps(T: Any, least: int) -> int:
    if isinstance(T, bool) or not isinstance(T, int) or T < least:
        raise ValueError(
            f"config: diffusion_steps is {T!r}, expected a whole number of at least {least}"
        )
    return T


def numbers(value: Any, name: str) -> tuple[float, ...] | None:
    """Numbers from a list, one number, or text such as "32,16,8"; None for nothing.

    Raises:
        ValueError: It is something else.
    """
    if value is None or value == "":
        return None
    parts = value.split(",") if isinstance(value, str) else value
    parts = [parts] if isinstance(parts, (int, float)) else parts
    try:
        return tuple(int(x) if float(x) == int(float(x)) else float(x) for x in parts)
    except (TypeError, ValueError):
        raise ValueError(f"config: {name} is {value!r}, expected numbers") from None
