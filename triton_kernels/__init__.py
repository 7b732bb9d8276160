"""Triton kernels of ddrm_fast, installed as ``ddrm_fast.triton_kernels``.

One operation a file, a kernel and its launcher; the backend ``triton`` (:mod:`ddrm_fast.ops.triton`)
collects the launchers. Importing them needs Triton.
"""
