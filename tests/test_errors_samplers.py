"""Wrong steps, schedules and weights of samplers are named; samplers of one's own are taken."""

import pytest
import torch
from small_cases import pixelwise, restore_small

from ddrm_fast import DDIM, DDNM, DDPM, DDRM, DDNMPlus, Prior, Schedule
from ddrm_fast.samplers.weights import Branch, Weights

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so
NAN = float("nan")


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_number_of_steps(steps):
    with pytest.raises(ValueError, match=r"^steps: expected 1 to 1000, got"):
        restore_small(sampler=DDRM(steps=steps))


@pytest.mark.parametrize(
    "steps, reason",
    [
        ([], "the list is empty"),
        ([100, 1000], "from 0 to 999"),
        ([100, -1], "from 0 to 999"),
        ([0, 100], "expected descending"),
        ([100, 100], "expected descending"),
        ([100.5, 50.0], "expected a whole number, or a list of them"),
        (20.0, "expected a whole number, or a list of them"),
        ("quick", "expected COUNT, karras:COUNT:START:END"),
    ],
)
def test_lists_of_steps(steps, reason):
    with pytest.raises(ValueError, match=rf"^steps: .*{reason}"):
        restore_small(sampler=DDRM(steps=steps))


def test_steps_without_signal_or_noise_are_refused():
    """abar = 0: x0 would be a division by 0. abar = 1: eps would be."""
    schedule = Schedule(torch.cat((torch.ones(1), torch.linspace(0.9, 0.0, 9))))
    with pytest.raises(ValueError, match=r"^steps: abar is 0 at timestep 9"):
        restore_small(prior=Prior(pixelwise, schedule=schedule), sampler=DDRM(steps=[9, 5, 1]))
    with pytest.raises(ValueError, match=r"^steps: abar is 1 at timestep 0"):
        restore_small(prior=Prior(pixelwise, schedule=schedule), sampler=DDRM(steps=[8, 5, 0]))
    restore_small(prior=Prior(pixelwise, schedule=schedule), sampler=DDRM(steps=[8, 5, 1]))


@pytest.mark.parametrize(
    "abar", [[], [[0.5]], [0.5, 0.6], [1.1, 0.5], [0.5, -0.1], [0.5, NAN], 0.5]
)
def test_alphas_cumprod(abar):
    with pytest.raises(ValueError, match="^alphas_cumprod: expected"):
        Schedule(torch.tensor(abar))


@pytest.mark.parametrize("betas", [[0.1, 1.1], [-0.1], [NAN]])
def test_betas(betas):
    with pytest.raises(ValueError, match="^betas: expected numbers from 0 to 1"):
        Schedule.from_betas(betas)


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN])
def test_weights_of_samplers(value):
    for name, make in {
        "eta": [DDRM, DDNM, DDNMPlus, DDIM],
        "eta_b": [DDRM],
        "eta_c": [DDRM],
    }.items():
        for sampler in make:
            with pytest.raises(ValueError, match=rf"^{name}: expected 0 <= {name} <= 1"):
                sampler(**{name: value})


def test_choices_of_samplers():
    with pytest.raises(ValueError, match="^start_scale: expected 'exact' or 'published'"):
        DDRM(start_scale="both")
    with pytest.raises(ValueError, match="^variance: expected 'small', 'large' or 'learned'"):
        DDPM(variance="medium")


def test_a_sampler_of_ones_own_may_reach_every_branch():
    """What is no error: numbers and tensors, for one image or each."""

    class Mine:
        steps = [500, 100]

        def start(self, abar, sigma_y):
            return Weights.everywhere(Branch(d0=1.0))

        def weights(self, abar, abar_next, sigma_y):
            return Weights(Branch(a0=1.0), Branch(c2=0.5), Branch(c1=1.0), sigma_y)

    result = restore_small(sampler=Mine(), sigma_y=torch.tensor([0.1, 0.9]))
    assert torch.isfinite(result.mean).all()
