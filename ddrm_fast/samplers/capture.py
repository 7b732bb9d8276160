"""The loop without the host in it: network and step as one CUDA graph, replayed for every step.

A step of a small picture takes less time on the GPU than the host needs to start its kernels. The
graph holds all of them; what changes from step to step (timestep, row of the table, noise) is read
on the device at the place that the step's counter says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..ops import Noise, dispatch
from ..priors.prior import Prior
from .moves import Moves


def check_capture(x: Tensor, host_functions: dict[str, object]) -> None:
    """Raises ValueError if a run cannot be captured.

    Args:
        x:
            A tensor of the run.
        host_functions:
            What would have to run on the host in every step, by name; None where it is not there.
    """
    if x.device.type != "cuda":
        raise ValueError(f"capture: needs tensors on a GPU, got {x.device}")
    given = [name for name, value in host_functions.items() if value is not None]
    if given:
        raise ValueError(f"capture: does not go together with {', '.join(given)}")
    backend = dispatch.choose(x.device.type, x.dtype).__name__.rpartition(".")[2]
    if backend == "reference":
        raise ValueError(
            "capture: the reference backend reads the step on the host; "
            "ddrm_fast.backends() says what the cuda and the triton backend need"
        )


def record(advance: Callable[[], None]) -> Callable[[], None]:
    """What ``advance`` starts on the GPU, as a graph; calling the result replays it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        advance()
    return graph.replay


def captured_steps(
    move: Moves,
    prior: Prior,
    steps: Sequence[tuple[int, int]],
    times: Tensor,
    noise: Noise,
    x_t: Tensor,
    labels: Tensor | None,
    after: Callable[[int, Tensor, Tensor], None] | None,
) -> None:
    """All moves of a run, in place in ``x_t``, from its initial state on.

    Args:
        steps:
            (t, t_next) of every move.
        times:
            Timestep of every network call, float32 [moves, B].
        after:
            Called after each network call's step with its index, the state before it and the clean image.
    """
    x0 = torch.empty_like(x_t) if after else None
    # known pixels are made from the state before
    before = torch.empty_like(x_t) if after or move.known is not None else None
    travels = any(t_next > t for t, t_next in steps)
    step = move.step

    def down() -> None:
        source = x_t if before is None else before.copy_(x_t)
        t = times.index_select(0, step)[0]
        step.add_(1)
        out = prior.at(source, t, labels)
        move.down(source, out, noise, x_t, x0)
        if travels:
            move.forget()  # a graph cannot know which kind of move came before

    def up() -> None:
        step.add_(1)
        move.up(x_t, noise, x_t)

    # the first step runs by itself: libraries make their plans and workspaces before the capture
    down()
    graphs = {}
    for index, (t, t_next) in enumerate(steps):
        if index > 0:
            advance = down if t_next < t else up
            graphs[advance] = graphs.get(advance) or record(advance)
            graphs[advance]()
        if after is not None and t_next < t:
            after(index, before, x0)
