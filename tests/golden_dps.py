"""The recorded runs of DPS and MCG: their network and their noise."""

from pathlib import Path

import torch

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden" / "dps"


def toy_network(common, kappa):
    """Exact for a Gaussian prior where kappa is 0; six channels."""
    m, S, v, abar = (torch.as_tensor(common[name]) for name in ("m", "S", "v", "abar_64"))

    def network(x, t, labels=None):
        a = abar[t.long()].view(-1, 1, 1, 1)
        centred = torch.fft.fft2(x.double() - a.sqrt() * m)
        eps = (1 - a).sqrt() * torch.fft.ifft2(centred / (a * S + 1 - a)).real
        eps = eps + kappa * torch.tanh(2 * x.double())
        return torch.cat([eps, v.double().expand_as(eps)], dim=1).to(x.dtype)

    return network


def noise_of(z):
    """Field k mod K of the recorded noise, shifted where there are more steps than fields."""

    def field(k):
        turn, k = divmod(k, len(z))
        return torch.roll(z[k], (5 * turn, 11 * turn), dims=(-2, -1))

    return field
