"""Triton kernels of ddrm_fast, installed as ``ddrm_fast.triton_kernels``.

The folder holds its package file only: until kernels arrive the ``triton`` backend reports
itself as unavailable (see :func:`ddrm_fast.backends`).
"""
