"""What the drop-in modules have to compute, written from the formulas: dense maps, and float64 loops on
flat coefficients."""

import math

import torch
from torch.nn.functional import avg_pool2d, pad


def matrix_of(apply, entries: int) -> torch.Tensor:
    """The matrix (m, N) of a linear map of flat vectors, in float64."""
    return apply(torch.eye(entries, dtype=torch.float64)).mT


def kept_entries(x: torch.Tensor, missing: torch.Tensor) -> torch.Tensor:
    """Entries of (B, C, H, W) that are not missing, by their index channels * pixel + channel."""
    interleaved = x.flatten(2).mT.flatten(1)
    gone = set(missing.tolist())
    return interleaved[:, [i for i in range(interleaved.shape[1]) if i not in gone]]


def block_means(x: torch.Tensor, ratio: int) -> torch.Tensor:
    return avg_pool2d(x, ratio).flatten(1)


def hadamard(x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Kept Walsh-Hadamard coefficients, (coefficient, channel) with the channel fastest."""
    n = x.shape[2] * x.shape[3]
    matrix = torch.ones(1, 1, dtype=x.dtype)
    while len(matrix) < n:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)), dim=0)
    planes = x.flatten(2) @ matrix / math.sqrt(n)
    return planes[..., kept].mT.flatten(1)


def correlate(x: torch.Tensor, taps: torch.Tensor, dim: int, reflect: bool, stride: int = 1):
    """Each axis by itself: sample stride i + stride // 2, taps from L // 2 before it; of an odd number of
    taps the last is not used; zeros or half-sample reflection beyond the ends."""
    x = x.transpose(dim, -1)
    length, half = x.shape[-1], len(taps) // 2
    if reflect:
        x = torch.cat((x[..., :half].flip(-1), x, x[..., length - half :].flip(-1)), dim=-1)
    else:
        x = pad(x, (half, half))
    total = 0.0
    for k in range(2 * half):
        first = stride // 2 + k
        total = total + float(taps[k]) * x[..., first : first + length : stride]
    return total.transpose(dim, -1)


def separable(x, vertical, horizontal, reflect=False, stride=1):
    y = correlate(x, vertical, -2, reflect, stride)
    return correlate(y, horizontal, -1, reflect, stride).flatten(1)


def abar_table(betas: torch.Tensor) -> dict[int, float]:
    """abar_t from -1 on, products in float32."""
    products = torch.cumprod(torch.cat((torch.ones(1), 1 - betas)), dim=0)
    return dict(enumerate(products.tolist(), start=-1))


def _padded(s: torch.Tensor, entries: int) -> torch.Tensor:
    return pad(s, (0, entries - len(s)))


def _branches(s: torch.Tensor, sigma: float, sigma_0: float):
    """Where s sigma > sigma_0 and s sigma < sigma_0, compared in float32."""
    product = s.float() * torch.tensor(sigma, dtype=torch.float32)
    level = torch.tensor(sigma_0, dtype=torch.float32)
    return product > level, product < level


def ddrm_run(x, seq, model, betas, H, y, sigma_0, etaB, etaA, etaC, z):
    """DDRM as released, on coefficients in float64: (all x_t, all x0)."""
    shape, entries = x.shape, x[0].numel()
    abar = abar_table(betas)
    s_measured = H.singulars().double()
    count = len(s_measured)
    measured = torch.arange(entries) < count
    s = _padded(s_measured, entries)
    u = pad(H.Ut(y.double()), (0, max(0, entries - y[0].numel())))[:, :entries]
    safe = torch.where(s > 0, s, 1.0)

    def sigma_of(t):
        a = torch.tensor(abar[t], dtype=torch.float32)
        return float((1 - a).sqrt() / a.sqrt())

    def above_below(sigma):
        above, below = _branches(s, sigma, sigma_0)
        return above & measured, below & measured

    sigma = sigma_of(seq[-1])
    above, _ = above_below(sigma)
    c = x.double().flatten(1)
    noisy = (sigma**2 - sigma_0**2 / safe**2).clamp(min=0).sqrt()
    c = torch.where(above, u / safe + noisy * c, sigma * c) / sigma
    x_t = H.V(c).view(shape)
    states, clean = [x_t], []
    down = list(seq)[::-1]
    for k, (t, t_next) in enumerate(zip(down, [*down[1:], -1], strict=True)):
        a = abar[t]
        times = torch.full((len(x),), float(t))
        eps = model(x_t.float(), times).double()
        x0 = (x_t - math.sqrt(1 - a) * eps) / math.sqrt(a)
        sigma = sigma_of(t_next)
        above, below = above_below(sigma)
        c0, ce, cz = (H.Vt(v.double()) for v in (x0, eps, z[k]))
        out = c0 + sigma * math.sqrt(1 - etaC**2) * ce + sigma * etaC * cz
        if sigma_0 > 0:
            pull = sigma * math.sqrt(1 - etaA**2) * (u - s * c0) / sigma_0
            out = torch.where(below, c0 + pull + sigma * etaA * cz, out)
        noisy = (sigma**2 - (sigma_0 * etaB / safe) ** 2).clamp(min=0).sqrt()
        out = torch.where(above, (1 - etaB) * c0 + etaB * u / safe + noisy * cz, out)
        x_t = math.sqrt(abar[t_next]) * H.V(out).view(shape)
        states.append(x_t)
        clean.append(x0)
    return states, clean


def ddnm_run(x, pairs, model, betas, A, y, eta, z, sigma_y=None):
    """DDNM (sigma_y None) or aligned DDNM+ by its formulas, on coefficients in float64."""
    shape, entries = x.shape, x[0].numel()
    abar = abar_table(betas)
    s = _padded(A.singulars().double(), entries)
    s_weights = s if sigma_y is None else A.spectrum(entries).double()
    u = pad(A.Ut(y.double()), (0, max(0, entries - y[0].numel())))[:, :entries]
    x_t, x0, states, clean = x.double(), None, [x.double()], []
    for k, (t, t_next) in enumerate(pairs):
        a, root = math.sqrt(abar[t_next]), math.sqrt(1 - abar[t_next])
        if t_next > t:
            x_t = a * x0 + root * z[k].double()
        else:
            eps = model(x_t.float(), torch.full((len(x),), float(t))).double()
            x0 = (x_t - math.sqrt(1 - abar[t]) * eps) / math.sqrt(abar[t])
            c0, ce, cz = (A.Vt(v.double()) for v in (x0, eps, z[k]))
            change = torch.where(s > 0, c0 - u / torch.where(s > 0, s, 1.0), 0.0)
            d_z, d_e = root * eta, root * math.sqrt(1 - eta**2)
            if sigma_y:
                lam, d_z, d_e = _plus_weights(s_weights, a, root, sigma_y, eta)
                change = lam * change
            x_t = A.V(a * (c0 - change) + d_z * cz + d_e * ce).view(shape)
            clean.append(x0)
        states.append(x_t)
    return states, clean


def _plus_weights(s, a, root, sigma_y, eta):
    """lambda, weight of noise, weight of eps, for each singular value (the boundary itself apart)."""
    lam, d_z, d_e = (torch.full_like(s, v) for v in (1.0, root * eta, 0.0))
    for i, value in enumerate(s.tolist()):
        if value == 0:
            d_e[i] = root * math.sqrt(1 - eta**2)
        elif root >= a * sigma_y / value:
            d_z[i] = math.sqrt(max(0.0, root**2 - (a * sigma_y / value) ** 2))
        else:
            lam[i] = value * root * math.sqrt(1 - eta**2) / (a * sigma_y)
    return lam, d_z, d_e


def swaying_network(shape):
    """A network of no meaning that couples all pixels and channels, and depends on t."""
    generator = torch.Generator().manual_seed(5)
    offset = torch.randn(1, *shape[1:], generator=generator)

    def model(x, t):
        share = (0.4 + 0.4 * t / 1000).view(-1, 1, 1, 1)
        mixed = 0.7 * x + 0.2 * x.roll((1, 2), dims=(2, 3)) + 0.1 * x.roll(1, dims=1)
        return (share * mixed + 0.1 * offset).to(x.dtype)

    return model
