"""The conditioning methods of the published DPS: how a step follows the measurement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from .names import Names

_METHODS = Names("conditioning method")
register_conditioning_method = _METHODS.register


def get_conditioning_method(name: str, operator: Any, noiser: Any, **settings: Any) -> Any:
    """A conditioning method by its name in a task's configuration.

    Args:
        name:
            "ps" (DPS), "ps+", "mcg", "vanilla", "projection", or one of your own
            (:func:`register_conditioning_method`).
        operator, noiser:
            Of :func:`get_operator` and :func:`get_noise`.
        settings:
            ``scale`` (default 1), of ps+ ``num_sampling`` (5), and ``corrected=True``: every picture has
            its own norm, missing pixels count for nothing, and ps+ draws about its estimate.

    Raises:
        NameError: no class has the name.
    """
    return _METHODS.make(name, operator=operator, noiser=noiser, **settings)


class ConditioningMethod(ABC):
    """What is done to every new state. Derive from it with ``conditioning``.

    Args:
        operator, noiser:
            Of the measurement.
        corrected:
            See :func:`get_conditioning_method`.
    """

    def __init__(self, operator: Any, noiser: Any, corrected: bool = False, **kwargs: Any) -> None:
        self.operator, self.noiser, self.corrected = operator, noiser, corrected
        self.scale = kwargs.get("scale", 1.0)

    def project(self, data: Tensor, noisy_measurement: Tensor, **kwargs: Any) -> Tensor:
        """The state with the measurement put in, by the operator's ``project``."""
        return self.operator.project(data=data, measurement=noisy_measurement, **kwargs)

    def distance(self, x_0_hat: Tensor, measurement: Tensor, **kwargs: Any) -> Tensor:
        """What is descended: ||y - A(x0)||, one number, or [B] when corrected.

        For Poisson noise it stands over |y|, and the mean over y is taken.
        """
        difference = measurement - self.operator.forward(x_0_hat, **kwargs)
        if self.corrected and kwargs.get("mask") is not None:
            difference = difference * kwargs["mask"].to(difference)
        norms = self._norms(difference)
        kind = getattr(self.noiser, "__name__", None)
        if kind == "poisson":
            values = measurement.flatten(1) if self.corrected else measurement.reshape(1, -1)
            norms = norms * (1 / values.abs()).mean(dim=1)
        elif kind not in ("gaussian", "clean"):
            raise ValueError(f"noiser: expected gaussian, poisson or clean, got {kind}")
        return norms if self.corrected else norms[0]

    def grad_and_value(
        self, x_prev: Tensor, x_0_hat: Tensor, measurement: Tensor, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The distance and its gradient at the state before the step, through the network."""
        with torch.enable_grad():
            norm = self.distance(x_0_hat, measurement, **kwargs)
        (gradient,) = torch.autograd.grad(norm.sum(), x_prev)
        return gradient, norm.detach()

    def _norms(self, difference: Tensor) -> Tensor:
        """Of each picture when corrected, [B]; else of the whole batch, [1]."""
        rows = difference.flatten(1) if self.corrected else difference.reshape(1, -1)
        return torch.linalg.vector_norm(rows, dim=1)

    @abstractmethod
    def conditioning(self, x_t: Tensor, measurement: Tensor, **kwargs: Any) -> Any:
        """``(x_t, measurement, noisy_measurement, x_prev, x_0_hat) -> the state, the distance``."""


@register_conditioning_method("vanilla")
class Identity(ConditioningMethod):
    """The state stays what it is: draws from the prior."""

    def conditioning(
        self, x_t: Tensor, measurement: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        return x_t, x_t.new_zeros(())


@register_conditioning_method("projection")
class Projection(ConditioningMethod):
    """The measurement of the state's noise level is put in."""

    def conditioning(
        self,
        x_t: Tensor,
        measurement: Tensor | None = None,
        noisy_measurement: Tensor | None = None,
        x_prev: Tensor | None = None,
        x_0_hat: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        assert noisy_measurement is not None
        x_t = self.project(data=x_t, noisy_measurement=noisy_measurement, **kwargs)
        return x_t, x_t.new_zeros(())


@register_conditioning_method("ps")
class PosteriorSampling(ConditioningMethod):
    """DPS: down the distance to the measurement (Chung et al. 2023, algorithm 1)."""

    def conditioning(
        self,
        x_t: Tensor,
        measurement: Tensor,
        noisy_measurement: Tensor | None = None,
        x_prev: Tensor | None = None,
        x_0_hat: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        assert x_prev is not None and x_0_hat is not None
        gradient, norm = self.grad_and_value(x_prev, x_0_hat, measurement, **kwargs)
        x_t -= gradient * self.scale
        return x_t, norm


@register_conditioning_method("mcg")
class ManifoldConstraintGradient(PosteriorSampling):
    """MCG: the same, then the measurement is put in (Chung, Sim, Ryu, Ye, NeurIPS 2022)."""

    def conditioning(
        self,
        x_t: Tensor,
        measurement: Tensor,
        noisy_measurement: Tensor | None = None,
        x_prev: Tensor | None = None,
        x_0_hat: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        assert noisy_measurement is not None
        x_t, norm = super().conditioning(
            x_t, measurement, None, x_prev=x_prev, x_0_hat=x_0_hat, **kwargs
        )
        return self.project(data=x_t, noisy_measurement=noisy_measurement, **kwargs), norm


@register_conditioning_method("ps+")
class PosteriorSamplingPlus(ConditioningMethod):
    """DPS with the mean of the distances of several pictures near the estimate.

    They are 0.05 u away, u uniform in [0, 1) as published, from -1 to 1 when corrected. With a mask, which
    the published method does not hand on, it works here.
    """

    def __init__(self, operator: Any, noiser: Any, **kwargs: Any) -> None:
        super().__init__(operator, noiser, **kwargs)
        self.num_sampling = kwargs.get("num_sampling", 5)
        #: ``i -> u`` of draw i, counted over the run; None: from torch's global generator
        self.uniform: Any = None
        self._drawn = 0

    def conditioning(
        self,
        x_t: Tensor,
        measurement: Tensor,
        noisy_measurement: Tensor | None = None,
        x_prev: Tensor | None = None,
        x_0_hat: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        assert x_prev is not None and x_0_hat is not None
        with torch.enable_grad():
            norm = x_t.new_zeros(len(x_t) if self.corrected else ())
            for _ in range(self.num_sampling):
                near = x_0_hat + 0.05 * self._uniform(x_0_hat)
                difference = measurement - self.operator.forward(near, **kwargs)
                norms = self._norms(difference)
                norm = norm + (norms if self.corrected else norms[0]) / self.num_sampling
        (gradient,) = torch.autograd.grad(norm.sum(), x_prev)
        x_t -= gradient * self.scale
        return x_t, norm.detach()

    def _uniform(self, like: Tensor) -> Tensor:
        self._drawn += 1
        u = torch.rand_like(like) if self.uniform is None else self.uniform(self._drawn - 1)
        return 2 * u.to(like) - 1 if self.corrected else u.to(like)
