"""Networks of diffusers: its `UNet2DModel` from a folder, a file or memory, with its scheduler."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .prior import Prior
from .schedule import Schedule

#: parts of a pipeline that say that its network sees codes, not pixels
_ENCODERS = ("vae", "vqvae", "movq", "image_encoder", "vqgan")
_PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
#: names of the layers of an attention before diffusers 0.12, and since
_OLD_ATTENTION = {
    ".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0.",
}  # fmt: skip
_WEIGHTS = "diffusion_pytorch_model"


def from_diffusers(
    path: str | Path, variant: str | None = None, config: Mapping[str, Any] | None = None
) -> Prior:
    """A ``UNet2DModel`` saved by diffusers: a pipeline folder, or the folder of the network alone.

    Args:
        path:
            Folder with ``model_index.json`` (then its ``unet`` and ``scheduler``), or with ``config.json``
            and the scheduler in it or beside it (``../scheduler``); or a training's ``checkpoint-N`` with
            ``unet`` and ``unet_ema``, of which the mean is taken.
        variant:
            Of the weights' file: "fp16" for ``diffusion_pytorch_model.fp16.safetensors``; None: the plain
            file, or the only variant that is there.
        config:
            {"scheduler": {...}} where no scheduler is found: the content of its configuration.

    Raises:
        ImportError: diffusers is not installed.
        ValueError: the folder holds another kind of model, one that sees codes of an autoencoder, or no
            scheduler, without which nobody knows what the network predicts.
    """
    path = Path(path)
    if (path / "model_index.json").exists():
        _check_parts(path, _read_json(path / "model_index.json"))
    folder, notes = path, tuple[str, ...]()
    if not (path / "config.json").exists():
        folder, notes = _network_folder(path)
    _check_kind(folder, _read_json(folder / "config.json"))
    settings = _scheduler_beside(folder, config)
    variant = variant or _only_variant(folder)
    model = unet2d().from_pretrained(folder, local_files_only=True, variant=variant)
    prior = wrap_diffusers(model.eval().requires_grad_(False), settings, name=str(path))
    prior.notes = notes
    return prior


def _network_folder(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Where the network of a pipeline or of a training's checkpoint lies."""
    if not (path / "model_index.json").exists() and (path / "unet_ema" / "config.json").exists():
        return path / "unet_ema", ("the running mean of the weights (unet_ema), not unet",)
    return path / "unet", ()


def from_pipeline(pipeline: Any) -> Prior:
    """The network of a pipeline in memory, with its scheduler.

    Args:
        pipeline:
            Something with ``unet`` and ``scheduler``, such as a ``DDPMPipeline``.

    Raises:
        ValueError: its network sees codes of an autoencoder, or is of another kind.
    """
    name = type(pipeline).__name__
    _check_parts(
        name, {part: True for part in _ENCODERS if getattr(pipeline, part, None) is not None}
    )
    return wrap_diffusers(pipeline.unet, pipeline.scheduler, name)


def wrap_diffusers(model: Any, scheduler: Any = None, name: str = "diffusers") -> Prior:
    """A diffusers ``UNet2DModel`` in memory as a prior.

    Args:
        model:
            The network.
        scheduler:
            Its scheduler, or that one's configuration (a dict); None: linear betas 1e-4 .. 2e-2, T = 1000,
            predicts eps.
        name:
            For messages and records.

    Raises:
        ValueError: the scheduler has no betas, or a schedule or prediction that is not known; the network is
            made for something else than pictures, timesteps and classes.
    """
    config = _scheduler_config(scheduler)
    kind = config.get("prediction_type", "epsilon")
    if kind not in _PREDICTIONS:
        raise ValueError(
            f"prediction_type: expected one of {', '.join(_PREDICTIONS)}, got {kind!r}"
        )
    schedule = _schedule(config)
    _check_network(model, name)

    def network(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return model(x_t, t.long(), class_labels=labels).sample

    return Prior(
        network, _PREDICTIONS[kind], schedule, model.config.in_channels, name, model.dtype,
        num_classes=getattr(model.config, "num_class_embeds", None),
        module=model if isinstance(model, nn.Module) else None,
    )  # fmt: skip


def single_file(path: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Prior:
    """The weights of a ``UNet2DModel`` in one file.

    Args:
        path:
            The file, for its neighbours: ``config.json`` beside it, the scheduler in ``../scheduler``.
        weights:
            What it holds; old names of attention layers are understood.
        config:
            Content of ``config.json``, with the scheduler's under "scheduler"; empty: both are looked for.

    Raises:
        ValueError: a configuration is missing, has unknown names, or is that of another model.
    """
    given = {name: value for name, value in config.items() if name != "scheduler"}
    if not given:
        beside = path.with_name("config.json")
        if not beside.exists():
            raise ValueError(
                f"{path}: holds a diffusers UNet2DModel, whose shape its weights do not tell; put its "
                "config.json beside it, or give config={...} with that file's content"
            )
        given = _read_json(beside)
    _check_kind(path, given, if_named=True)
    cls = unet2d()
    known = set(inspect.signature(cls.__init__).parameters) - {"self"}
    unknown = sorted(n for n in given if n not in known and not n.startswith("_"))
    if unknown:
        raise ValueError(
            f"config: unknown {', '.join(unknown)} for {path}; known: {', '.join(sorted(known))}, scheduler"
        )
    settings = _scheduler_beside(path.parent, config)
    model = cls.from_config(given)
    try:
        model.load_state_dict({_new_name(name): x.float() for name, x in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit the network ({error})") from error
    return wrap_diffusers(model.eval().requires_grad_(False), settings, str(path))


def _new_name(name: str) -> str:
    for old, new in _OLD_ATTENTION.items():
        name = name.replace(old, new)
    return name


def unet2d() -> Any:
    """The class of diffusers' network.

    Raises:
        ImportError: diffusers is not installed.
    """
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise ImportError(
            "loading a network of diffusers needs diffusers: pip install 'ddrm-fast[diffusers]'"
        ) from error
    return UNet2DModel


def _check_parts(what: str | Path, index: Mapping[str, Any]) -> None:
    """Refuses pipelines whose network does not see pixels."""
    found = [part for part in _ENCODERS if index.get(part) not in (None, [None, None])]
    if found:
        raise ValueError(
            f"{what}: a latent pipeline (it has {', '.join(found)}): its network sees the codes of an "
            "autoencoder, not pixels; expected one that sees pixels, such as a DDPMPipeline"
        )


def _check_kind(where: Path, config: Mapping[str, Any], if_named: bool = False) -> None:
    kind = config.get("_class_name")
    if kind == "UNet2DModel" or (if_named and kind is None):
        return
    if kind == "UNet2DConditionModel":
        raise ValueError(f"{where}: {CONDITIONAL}")
    raise ValueError(f"{where}: expected a UNet2DModel, found {kind}")


CONDITIONAL = (
    "holds a UNet2DConditionModel, a network that is led by text or pictures and mostly sees the codes of an "
    "autoencoder; expected a UNet2DModel, which takes a picture, a timestep and at most a class"
)


def _check_network(model: Any, name: str) -> None:
    """Refuses networks that want more than a picture, a timestep and a class."""
    config = model.config
    channels, out = config.in_channels, getattr(config, "out_channels", None)
    if type(model).__name__ == "UNet2DConditionModel":
        raise ValueError(f"{name}: {CONDITIONAL}")
    if getattr(config, "time_embedding_type", "positional") == "fourier":
        raise ValueError(
            f"{name}: time_embedding_type is 'fourier': the network is told noise levels, not timesteps; "
            "wrap it as DenoiserPrior"
        )
    if getattr(config, "class_embed_type", None) not in (None, "None"):
        raise ValueError(
            f"{name}: class_embed_type is {config.class_embed_type!r}, expected None: classes by number"
        )
    if out is not None and out not in (channels, 2 * channels):
        raise ValueError(
            f"{name}: takes {channels} channels and gives {out}: it sees more than the noisy picture; "
            "expected as many, or twice as many with variances"
        )


def _scheduler_beside(folder: Path, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The configuration of the scheduler that belongs to a network's folder."""
    if config and "scheduler" in config:
        return _scheduler_config(config["scheduler"])
    index = folder.parent / "model_index.json"
    if index.exists():
        _check_parts(folder.parent, _read_json(index))
    for place in (folder / "scheduler", folder, folder.parent / "scheduler", folder.parent):
        if (place / "scheduler_config.json").exists():
            return _read_json(place / "scheduler_config.json")
    raise ValueError(
        f"{folder}: no scheduler_config.json in it, in scheduler or in ../scheduler: what the network "
        "predicts and its betas are not known; give config={'scheduler': {...}} with that file's content"
    )


def _scheduler_config(scheduler: Any) -> dict[str, Any]:
    """A configuration from a scheduler, from its ``config``, or from nothing."""
    if scheduler is None:
        return {}
    config = scheduler if isinstance(scheduler, Mapping) else getattr(scheduler, "config", None)
    if not isinstance(config, Mapping):
        raise ValueError(
            "scheduler: expected a scheduler of diffusers or its configuration, got "
            f"{type(scheduler).__name__}"
        )
    config = dict(config)
    named = config.get("_class_name") or (None if scheduler is config else type(scheduler).__name__)
    has_betas = "beta_schedule" in config or config.get("trained_betas") is not None
    if not isinstance(scheduler, Mapping) or "_class_name" in config:
        if not has_betas or config.get("timestep_type") == "continuous":
            raise ValueError(
                f"scheduler: {named} has no betas: its network is told noise levels or times of a flow; "
                "expected one with betas, such as DDPMScheduler or DDIMScheduler"
            )
    return config


def _schedule(config: Mapping[str, Any]) -> Schedule:
    """The schedule that the network was trained on."""
    T = config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 1e-4), config.get("beta_end", 2e-2)
    kind = config.get("beta_schedule", "linear")
    made = {
        "linear": lambda: Schedule.linear(T, start, end),
        "scaled_linear": lambda: Schedule.quadratic(T, start, end),
        "squaredcos_cap_v2": lambda: Schedule.cosine(T),
        "sigmoid": lambda: Schedule.sigmoid(T, start, end),
    }
    if config.get("trained_betas") is not None:
        betas = torch.as_tensor(config["trained_betas"], dtype=torch.float64)
        schedule = Schedule.from_betas(betas)
    elif kind in made:
        schedule = made[kind]()
    else:
        raise ValueError(
            f"beta_schedule: {kind!r} is not known; pass a Prior with your own Schedule"
        )
    return schedule.to_zero_snr() if config.get("rescale_betas_zero_snr") else schedule


def _only_variant(folder: Path) -> str | None:
    """The variant of the weights' file where there is no plain one."""
    names = [p.name for p in folder.glob(f"{_WEIGHTS}*") if p.is_file()]
    plain = [n for n in names if n.removeprefix(_WEIGHTS).count(".") == 1 or ".index." in n]
    if plain or not names:
        return None
    return sorted(names)[0].removeprefix(f"{_WEIGHTS}.").split(".")[0]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; is this a diffusers folder?") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: is not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected settings by name, found a {type(content).__name__}")
    return content
