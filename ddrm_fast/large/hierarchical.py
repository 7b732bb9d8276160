"""Hierarchical restoration: the picture small first, then larger ones that keep its low frequencies.

"Unlimited-Size Diffusion Restoration" (Wang et al. 2023), section 3.3: a window sees too little of a large
picture to fill a hole larger than itself, or to agree with far windows on colours. A small picture
does; the next level is then held to its means of blocks,

    x0 <- A_sr_pinv x_low + (I - A_sr_pinv A_sr) x0,

before the measurement is used: a composition of two operators.
"""

from __future__ import annotations

from ..problems import Problem


def levels_of(problem: Problem, levels: int, factor: int) -> list[Problem]:
    """A problem and its smaller ones, the largest first.

    Raises:
        ValueError: a size is no multiple of the factor, or the measurement has no small counterpart.
    """
    found = [problem]
    for _ in range(levels):
        shape = found[-1].shape
        if shape[1] % factor or shape[2] % factor:
            power = factor**levels if levels < 32 else f"{factor}^{levels}"
            raise ValueError(
                f"levels: with {levels} levels height and width must be multiples of "
                f"{power}, got {problem.shape[1]} x {problem.shape[2]}"
            )
        found.append(found[-1].coarse(factor))
    return found
