"""The tables of an evaluation: a row for each case, means over its pictures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Container
from typing import Any

from .cases import CASES, METHODS


def row_of(case: str, results: dict[str, Any], pictures: Container[str]) -> dict[str, Any] | None:
    """Means over the pictures of this run."""
    found = [figures for name, figures in results.items() if name in pictures]
    if not found:
        return None
    row: dict[str, Any] = {"case": case, "pictures": len(found), "sigma": CASES[case].sigma}
    for method in (*METHODS, "estimate"):
        for kind in ("psnr", "ssim", "lpips"):
            values = [f[method][kind] for f in found if method in f and kind in f[method]]
            row[f"{kind}_{method}"] = round(statistics.fmean(values), 4) if values else None
    for which in ("sample", "mean"):
        squares = statistics.fmean(f["residual"][which] ** 2 for f in found)
        row[f"residual_{which}"] = round(math.sqrt(squares), 5)
    bars = [f["uncertainty"] for f in found if "uncertainty" in f]
    if bars:
        means = {name: [b[name] for b in bars if b[name] is not None] for name in bars[0]}
        row["uncertainty"] = {
            name: round(statistics.fmean(values), 4) for name, values in means.items() if values
        }
    row["seconds"] = round(sum(f["seconds"] for f in found), 1)
    return row


def table(rows: list[dict[str, Any]], samples: int) -> str:
    """The rows as text: PSNR of the baselines, of one sample, of the mean and of
    the best estimate; SSIM; residual. Below it, where
    they were measured, LPIPS and what compares sets."""
    lines = [
        f"{'':13}{'PSNR, dB':^57}{'':3}{'SSIM':^24}{'':3}{'residual':>17}",
        f"{'case':13}{'input':>9}{'bicubic':>9}{'pinv':>9}{'sample':>9}{f'mean of {samples}':>11}"
        f"{'estimate':>10}{'':3}{'pinv':>8}{'sample':>8}{'mean':>8}{'':3}{'sigma':>9}{'sample':>8}",
    ]
    for row in rows:
        psnr = "".join(_cell(row[f"psnr_{method}"], 9, 2) for method in METHODS[:-1])
        psnr += _cell(row["psnr_mean"], 11, 2) + _cell(row["psnr_estimate"], 10, 2)
        ssim = "".join(_cell(row[f"ssim_{method}"], 8, 3) for method in ("pinv", "sample", "mean"))
        lines.append(
            f"{row['case']:13}{psnr}{'':3}{ssim}{'':3}{row['sigma']:9.4f}{row['residual_sample']:8.4f}"
        )
    if any(row["lpips_sample"] is not None or "fid" in row for row in rows):
        lines += ["", *_perceived(rows, samples)]
    if any("uncertainty" in row for row in rows):
        lines += ["", *_uncertain([row for row in rows if "uncertainty" in row])]
    return "\n".join(lines)


def _perceived(rows: list[dict[str, Any]], samples: int) -> list[str]:
    """The rows of the second table."""
    lines = [
        f"{'':13}{'LPIPS':^47}{'':3}{'of first samples':^39}",
        f"{'case':13}{'input':>9}{'bicubic':>9}{'pinv':>9}{'sample':>9}{f'mean of {samples}':>11}{'':3}"
        f"{'FID':>9}{'KID x 1000':>13}{'Inception Score':>17}",
    ]
    for row in rows:
        lpips = "".join(_cell(row[f"lpips_{method}"], 9, 3) for method in METHODS[:-1])
        lpips += _cell(row["lpips_mean"], 11, 3)
        kid = 1000 * row["kid"] if "kid" in row else None
        sets = _cell(row.get("fid"), 9, 2) + _cell(kid, 13, 2)
        lines.append(
            f"{row['case']:13}{lpips}{'':3}{sets}{_cell(row.get('inception_score'), 17, 2)}"
        )
    return lines


def _uncertain(rows: list[dict[str, Any]]) -> list[str]:
    """The rows of the table of error bars: what is said to be 68 and 95 %."""
    lines = [
        f"{'':13}{'error bars: % of the errors within':^60}",
        f"{'case':13}{'68 %':>8}{'flat':>8}{'detailed':>10}{'95 %':>8}{'flat':>8}{'detailed':>10}"
        f"{'':3}{'score':>8}{'rank':>7}{'spread/error':>14}",
    ]
    for row in rows:
        found = row["uncertainty"]
        shares = "".join(
            _cell(found[f"inside_{level}{where}"], 10 if where == "_detailed" else 8, 1)
            for level in ("68", "95")
            for where in ("", "_flat", "_detailed")
        )
        said = "" if found["calibrated"] == 1 else "  uncalibrated"
        lines.append(
            f"{row['case']:13}{shares}{'':3}{_cell(found['score'], 8, 4)}{_cell(found['rank'], 7, 2)}"
            f"{_cell(found.get('spread'), 14, 2)}{said}"
        )
    return lines


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"
