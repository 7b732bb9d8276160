"""The network of a model configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from ...priors.networks.guided import GuidedConfig, GuidedUNet
from ...priors.published.weights import read_weights

_LEVELS = {
    512: (0.5, 1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4),
}  # fmt: skip


def create_model(
    image_size: int,
    num_channels: int,
    num_res_blocks: int,
    channel_mult: str = "",
    learn_sigma: bool = False,
    class_cond: bool = False,
    use_checkpoint: bool = False,
    attention_resolutions: str | int = "16",
    num_heads: int = 1,
    num_head_channels: int = -1,
    num_heads_upsample: int = -1,
    use_scale_shift_norm: bool = False,
    dropout: float = 0,
    resblock_updown: bool = False,
    use_fp16: bool = False,
    use_new_attention_order: bool = False,
    model_path: str = "",
    *,
    random_weights: bool = False,
) -> nn.Module:
    """A guided-diffusion network with the weights of a file.

    The published function silently keeps random weights where the file cannot be read; this one says so and
    stops.

    Args:
        image_size:
            Side that the network was made for.
        num_channels, num_res_blocks, channel_mult, num_heads, num_head_channels, num_heads_upsample:
            Of the network; ``channel_mult`` "": by ``image_size``.
        learn_sigma:
            6 output channels.
        class_cond:
            1000 classes.
        use_checkpoint, use_fp16:
            Taken and not needed: memory and number formats are the caller's, as with any module.
        attention_resolutions:
            Sides of the levels with attention, such as "32,16,8".
        use_scale_shift_norm, dropout, resblock_updown, use_new_attention_order:
            Of the network.
        model_path:
            File of the weights.
        random_weights:
            Load nothing.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the weights are those of another network.
    """
    if channel_mult:
        levels: tuple[float, ...] = tuple(float(word) for word in str(channel_mult).split(","))
    elif image_size in _LEVELS:
        levels = _LEVELS[image_size]
    else:
        raise ValueError(
            f"image_size: expected one of {', '.join(map(str, _LEVELS))} where channel_mult is not given, "
            f"got {image_size}"
        )
    sides = [int(word) for word in str(attention_resolutions).split(",") if word]
    network = GuidedUNet(
        GuidedConfig(
            in_channels=3,
            model_channels=num_channels,
            out_channels=6 if learn_sigma else 3,
            num_res_blocks=num_res_blocks,
            attention_resolutions=tuple(image_size // side for side in sides),
            channel_mult=levels,
            num_heads=num_heads,
            num_head_channels=num_head_channels,
            num_heads_upsample=num_heads_upsample,
            use_new_attention_order=use_new_attention_order,
            use_scale_shift_norm=use_scale_shift_norm,
            resblock_updown=resblock_updown,
            num_classes=1000 if class_cond else None,
            image_size=image_size,
            dropout=dropout,
        )
    )
    if not random_weights:
        if not Path(model_path).is_file():
            raise FileNotFoundError(f"model_path: no file {model_path!r}")
        _fill(network, read_weights(Path(model_path)), model_path)
    return network.eval()


def _fill(network: nn.Module, weights: Any, path: str) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"model_path: {path} holds the weights of another network ({str(error).splitlines()[-1].strip()})"
        ) from error
