"""The loop without the host in it: network and step as one CUDA graph, replayed for every step.

A step of a small picture takes less time on the GPU than the host needs to start its kernels. The
graph holds all of them; what changes from step to step (timestep, row of the table, noise) is read
on the device at the place that the step's counter says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..ops import dispatch
from .state import State
from .stepper import Stepper


def check_capture(x: Tensor, host: Sequence[str]) -> None:
    """Raises ValueError if a run cannot be captured.

    Args:
        x:
            A tensor of the run.
        host:
            Names of what would have to run on the host in every step.
    """
    if x.device.type != "cuda":
        raise ValueError(f"capture: needs tensors on a GPU, got {x.device}")
    if host:
        raise ValueError(f"capture: does not go together with {', '.join(host)}")
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
    stepper: Stepper,
    moves: Sequence[tuple[float, float]],
    times: Tensor,
    state: State,
    after: Callable[[int, Tensor, Tensor], None] | None,
) -> None:
    """All moves of a run, in place in ``state.x_t``, from its initial state on.

    Args:
        moves:
            (t, t_next) of every move.
        times:
            Timestep of every network call, float32 [moves, B].
        state:
            Of the first step; what is on the host in it is not read.
        after:
            Called after each network call's step with its move, the state before it and the clean image.
    """
    x_t, noise = state.x_t, state.own_fused.noise
    x0 = torch.empty_like(x_t) if after else None
    # edits of the new state are made from the state before
    before = torch.empty_like(x_t) if after or stepper.edits["after"] else None
    travels = any(t_next > t for t, t_next in moves)
    step = stepper.step

    def down() -> None:
        seen = replace(state, x_t=x_t if before is None else before.copy_(x_t))
        seen.times = times.index_select(0, step)[0]
        step.add_(1)
        stepper.network(seen)
        stepper.down(seen, x_t, x0)
        if travels:
            stepper.forget()  # a graph cannot know which kind of move came before

    def up() -> None:
        step.add_(1)
        stepper.up(x_t, noise, x_t)

    # the first step runs by itself: libraries make their plans and workspaces before the capture
    down()
    graphs: dict[Callable[[], None], Callable[[], None]] = {}
    for index, (t, t_next) in enumerate(moves):
        if index > 0:
            advance = down if t_next < t else up
            graphs[advance] = graphs.get(advance) or record(advance)
            graphs[advance]()
        if after is not None and before is not None and x0 is not None and t_next < t:
            after(index, before, x0)
