"""What may change a run between the network and the next state: edits, at four places of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from ...operators import Forward
from ...operators.cuts import Cuts
from ...problems import Problem
from ..state import State

if TYPE_CHECKING:
    from ...priors import Prior
    from ..weights import Sampler

#: in the order of a step: the network's output, the clean image, the state after the map, the result
PLACES = ("output", "clean", "after", "result")


class Edit:
    """A change of a run. Derive from it and write one or more of the four methods of ``PLACES``.

    Each gets the problem and the state of the rows that run together, in the network's range [-1, 1], and
    returns the new value of what it changes; tensors may be changed in place. Edits of a place act in
    the order of the list; what a sampler brings acts next to the network and next to the new state: first,
    but last after the map.

    - ``output``: the network's output (B, C or more, H, W), such as guidance.
    - ``clean``: the clean image, from which eps is derived anew: clipping, holds, a proximal step.
    - ``after``: the state after the affine map, such as known pixels.
    - ``result``: the finished pictures, such as ending on the measurement.

    An edit with ``differentiates = True`` also writes ``pull``: the loop calls the network once with
    gradients, takes J^T of what it returns, J the Jacobian of the clean image at x_t, and puts it into
    ``state.pull`` for the other methods. One with ``keeps_graph = True`` finds the graph of that call in
    ``state.graph`` when it acts after the map, and differentiates itself. Nothing else runs with gradients.
    """

    #: whether ``pull`` is asked for
    differentiates: ClassVar[bool] = False
    #: whether ``state.graph`` is kept for it
    keeps_graph: ClassVar[bool] = False
    #: whether it reads nothing on the host, so that a CUDA graph may hold it
    capturable: ClassVar[bool] = False
    #: what it needs of a degradation: Forward or Operator
    needs: ClassVar[type[Forward]] = Forward
    #: for messages; default the name of the class
    title: str = ""

    def output(self, problem: Problem, state: State) -> Tensor:
        """The network's output, ``state.out``, changed."""
        raise _unwritten(self, "output")

    def clean(self, problem: Problem, state: State) -> Tensor:
        """The clean image, ``state.x0``, changed."""
        raise _unwritten(self, "clean")

    def after(self, problem: Problem, state: State) -> Tensor:
        """The new state, ``state.x_next``, changed."""
        raise _unwritten(self, "after")

    def result(self, problem: Problem, state: State) -> Tensor:
        """The finished pictures, ``state.x_next``, changed."""
        raise _unwritten(self, "result")

    def pull(self, problem: Problem, state: State) -> Tensor:
        """v, of the shape of ``state.x0``, which is detached here."""
        raise _unwritten(self, "pull")

    def acts(self, place: str) -> bool:
        """Whether it changes what is at a place of ``PLACES``."""
        return getattr(type(self), place) is not getattr(Edit, place)

    def check(self, name: str, problem: Problem) -> None:
        """Raises ValueError unless it fits the pictures of a problem; before any work is done."""

    def check_prior(self, prior: Prior, steps: Sequence[tuple[float, float]]) -> None:
        """Raises ValueError unless it fits a network at (t, t_next) of every move."""

    def check_run(self, sampler: Sampler, edits: Sequence[Edit]) -> None:
        """Raises ValueError unless it fits a sampler, and what else edits the run."""

    def prepared(self, problem: Problem, shape: tuple[int, ...]) -> Edit | None:
        """The same, ready for a run.

        Args:
            problem:
                Of the rows, in the network's range.
            shape:
                (B, C, H, W) of the state.

        Returns:
            An edit, or None where there is nothing to do.
        """
        return self

    def in_network_range(self) -> Self:
        """The same for pictures in [-1, 1], of [0, 1]."""
        return self

    def select(self, rows: Tensor) -> Self:
        """That of some pictures of the batch, int64."""
        return self

    def windows(self, cuts: Cuts, samples: Sequence[int]) -> Self:
        """That of windows, as a batch, of these samples."""
        return self

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        return self

    def put(self, x: Tensor) -> Tensor:
        """Finished pictures in [0, 1] with what the edit knows exactly, without rounding of the range."""
        return x

    @classmethod
    def at(
        cls, place: str, function: Callable[[Problem, State], Tensor], title: str = ""
    ) -> FunctionEdit:
        """A function as an edit.

        Args:
            place:
                "output", "clean", "after" or "result".
            function:
                ``(problem, state) -> what is there, changed``.
            title:
                For messages; default the function's name.

        Raises:
            ValueError: there is no such place, or the function is none.
        """
        return FunctionEdit(place, function, title)

    def __str__(self) -> str:
        return self.title or type(self).__name__


class FunctionEdit(Edit):
    """See :meth:`Edit.at`."""

    def __init__(
        self, place: str, function: Callable[[Problem, State], Tensor], title: str = ""
    ) -> None:
        if place not in PLACES:
            raise ValueError(f"place: expected one of {', '.join(PLACES)}, got {place!r}")
        if not callable(function):
            raise ValueError(
                f"function: expected a function of (problem, state), got {type(function).__name__}"
            )
        self.place, self.function = place, function
        self.title = title or getattr(function, "__name__", type(function).__name__)

    def acts(self, place: str) -> bool:
        return place == self.place

    def _call(self, problem: Problem, state: State) -> Tensor:
        return self.function(problem, state)

    output = clean = after = result = _call


def _unwritten(edit: Edit, place: str) -> TypeError:
    return TypeError(f"{type(edit).__name__}: has no {place}(problem, state)")


def checked_change(edit: Edit, value: Tensor, before: Tensor) -> Tensor:
    """What an edit returned.

    Raises:
        ValueError: it is no tensor of the shape that was there before.
    """
    if not isinstance(value, Tensor) or value.shape != before.shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{edit}: expected a tensor of shape {tuple(before.shape)}, got {got}")
    return value.to(before.dtype)
