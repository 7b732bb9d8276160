"""The CUDA kernels as functions of tensors: addresses, shapes, device and stream for a module.

The module is ``ddrm_fast._cuda`` (:mod:`.cuda`), or in the tests the same sources built for the
processor. Functions and arguments are those of :mod:`.reference`; arguments are checked by the
caller, outputs are allocated. Nothing here waits for the device: the row table, the step and the
keys are read by the kernels.
"""

from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from . import dct_passes
from .addresses import address, output, profile, step_fields


class Kernels:
    """Every operation of a backend on one module of kernels.

    Args:
        module:
            ``ddrm_fast._cuda``, or one with the same functions.
        place:
            The device index and the address of the stream to launch on, for a tensor.
    """

    def __init__(self, module: ModuleType, place: Callable[[Tensor], tuple[int, int]]) -> None:
        self._module, self._place = module, place

    def normal(self, z: Tensor, keys: Tensor, iteration: int, stream: int) -> None:
        """Fill ``z`` (B, C, H, W) with white noise."""
        self._module.normal(
            z.data_ptr(), tuple(z.shape), keys.data_ptr(), iteration, stream, *self._place(z)
        )

    def pointwise_step(
        self,
        x_next: Tensor,
        x0: Tensor | None,
        x_t: Tensor | None,
        out: Tensor | None,
        u: Tensor | None,
        s: Tensor,
        table: Tensor,
        step: Tensor,
        keys: Tensor,
        noise: Tensor | None,
    ) -> None:
        """One affine step where every coefficient is a group of its own."""
        fields = step_fields(x_next, x0, x_t, out, u, s, table, step, keys, noise)
        self._module.pointwise_step(fields, *self._place(x_next))

    def block_step(
        self,
        x_next: Tensor,
        x0: Tensor | None,
        x_t: Tensor | None,
        out: Tensor | None,
        u: Tensor | None,
        s: Tensor,
        weights: Tensor | None,
        mask: Tensor | None,
        factor: int,
        table: Tensor,
        step: Tensor,
        keys: Tensor,
        noise: Tensor | None,
    ) -> None:
        """One affine step where r x r pixels (and, with weights, all channels) form a group."""
        fields = step_fields(x_next, x0, x_t, out, u, s, table, step, keys, noise)
        groups = profile(weights, mask, factor)
        self._module.block_step(fields, groups, *self._place(x_next))

    def spectral_step(
        self,
        x_next: Tensor,
        x_t: Tensor | None,
        out: Tensor | None,
        u: Tensor | None,
        s: Tensor,
        table: Tensor,
        step: Tensor,
        keys: Tensor,
        noise: Tensor | None,
        width: int,
    ) -> None:
        """One affine step on half spectra of ``rfft2(norm="ortho")``, with Hermitian noise."""
        fields = step_fields(x_next, None, x_t, out, u, s, table, step, keys, noise)
        self._module.spectral_step(fields, width, *self._place(x_next))

    def alias_step(
        self,
        x_next: Tensor,
        x_t: Tensor | None,
        out: Tensor | None,
        u: Tensor | None,
        kernel: Tensor,
        s: Tensor,
        table: Tensor,
        step: Tensor,
        keys: Tensor,
        noise: Tensor | None,
        factor: int,
        width: int,
    ) -> None:
        """One affine step for a blur followed by decimation, on half spectra."""
        fields = step_fields(x_next, None, x_t, out, u, s, table, step, keys, noise)
        self._module.alias_step(
            fields, kernel.data_ptr(), tuple(kernel.shape), factor, width, *self._place(x_next)
        )

    def known_step(
        self,
        x_next: Tensor,
        x_t: Tensor,
        out: Tensor,
        image: Tensor,
        mask: Tensor,
        table: Tensor,
        step: Tensor,
        keys: Tensor,
        noise: Tensor | None,
    ) -> None:
        """Known pixels of a new state, in place."""
        fields = step_fields(x_next, None, x_t, out, image, None, table, step, keys, noise)
        known = (mask.data_ptr(), tuple(mask.shape))
        self._module.known_step(fields, *known, *self._place(x_next))

    def block_measure(
        self,
        c: Tensor,
        x: Tensor,
        s: Tensor,
        weights: Tensor | None,
        mask: Tensor | None,
        factor: int,
    ) -> None:
        """Measured coefficient of every block: (B, G, H / r, W / r)."""
        self._module.block_measure(
            c.data_ptr(),
            x.data_ptr(),
            tuple(x.shape),
            s.data_ptr(),
            tuple(s.shape),
            profile(weights, mask, factor),
            *self._place(x),
        )

    def block_lift(
        self,
        x: Tensor,
        c: Tensor,
        s: Tensor,
        weights: Tensor | None,
        mask: Tensor | None,
        factor: int,
    ) -> None:
        """Adjoint of :meth:`block_measure`: (B, C, H, W)."""
        self._module.block_lift(
            x.data_ptr(),
            tuple(x.shape),
            c.data_ptr(),
            s.data_ptr(),
            tuple(s.shape),
            profile(weights, mask, factor),
            *self._place(x),
        )

    def fwht(self, y: Tensor, x: Tensor) -> None:
        """Orthonormal Walsh-Hadamard transform (natural order) of each plane, row by row."""
        length = x.shape[-2] * x.shape[-1]
        planes = x.numel() // length
        self._module.fwht(y.data_ptr(), x.data_ptr(), planes, length, *self._place(x))

    def fwht_step(
        self,
        x_next: Tensor,
        x_t: Tensor,
        out: Tensor,
        u: Tensor | None,
        s: Tensor,
        table: Tensor,
        step: Tensor,
        keys: Tensor,
        noise: Tensor | None,
    ) -> None:
        """One affine step on Walsh-Hadamard coefficients, in the last pass of the transform of ``out``."""
        fields = step_fields(x_next, None, x_t, out, u, s, table, step, keys, noise)
        passes = self._module.fwht_passes(x_next.shape[-2] * x_next.shape[-1])
        scratch = torch.empty_like(x_next) if passes > 1 else None
        self._module.fwht_step(fields, address(scratch), *self._place(x_next))

    def dct2(self, y: Tensor, x: Tensor, factor: int) -> None:
        """Orthonormal DCT-II of each plane: two passes around one real FFT of the same size."""
        dct_passes.dct2(self._module, y, x, factor, *self._place(x))

    def idct2(self, x: Tensor, y: Tensor, factor: int) -> None:
        """Inverse and adjoint of :meth:`dct2`."""
        dct_passes.idct2(self._module, x, y, factor, *self._place(y))

    def predict_x0(self, x0: Tensor, x_t: Tensor, out: Tensor, table: Tensor, step: Tensor) -> None:
        """The (clipped) clean-image prediction of a step, (B, C, H, W)."""
        self._module.predict_x0(
            x0.data_ptr(),
            tuple(x0.shape),
            x_t.data_ptr(),
            *output(out),
            table.data_ptr(),
            *table.shape[:2],
            step.data_ptr(),
            *self._place(x0),
        )
