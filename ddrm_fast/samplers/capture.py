"""The loop without the host in it: network and step as one CUDA graph, replayed for every step.

A step of a small picture takes less time on the GPU than the host needs to start its kernels. The
graph holds all of them; what changes from step to step (timestep, row of the table, noise) is read
on the device at the place that the step's counter says.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..operators.base import Carry, Measurement, Operator, Rows
from ..ops import Noise, dispatch
from ..priors.prior import Prior


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
    operator: Operator,
    prior: Prior,
    u: Measurement,
    rows: Rows,
    times: Tensor,
    noise: Noise,
    x_t: Tensor,
    step: Tensor,
    carry: Carry,
    labels: Tensor | None,
    after: Callable[[int, Tensor, Tensor], None] | None,
) -> None:
    """All steps of a run, in place in ``x_t``, from its initial state on.

    Args:
        times:
            Timestep of every network call, float32 [steps, B].
        step:
            The counter, int64 [1], 0.
        after:
            Called after each step with its index, the state before it and the clean image.
    """
    before, x0 = (torch.empty_like(x_t) if after else None for _ in range(2))

    def advance() -> None:
        if before is not None:
            before.copy_(x_t)
        t = times.index_select(0, step)[0]
        step.add_(1)
        out = prior(x_t, t, labels)
        operator.step(x_t, out, u, rows, step, noise, x_next=x_t, x0=x0, carry=carry)

    # the first step runs by itself: libraries make their plans and workspaces before the capture
    advance()
    replay = None
    for index in range(len(times)):
        if index > 0:
            replay = record(advance) if replay is None else replay
            replay()
        if after is not None:
            after(index, before, x0)
