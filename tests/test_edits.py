"""Edits: functions of (problem, state) at four places of a step, in their order, rows known."""

import pytest
import torch
from small_cases import FAST, GAUSSIAN, OPERATORS, PICTURE, PIXELWISE, measured, pictures

from ddrm_fast import DDIM, DDPM, DDRM, Hold, Known, Prior, Travel, restore, sample
from ddrm_fast.large import restore_windows
from ddrm_fast.operators import Colorization, Denoising, Forward, SuperResolution
from ddrm_fast.problems import Problem
from ddrm_fast.restoration import draw
from ddrm_fast.samplers import DPS, Clip, Drawing, Edit, EndOnMeasurement, Guidance

STEPS = 4
SAMPLER = DDRM(STEPS)


class Watching(Edit):
    """Keeps what it sees at every place, and changes nothing."""

    def __init__(self):
        self.seen = []

    def _look(self, place, state, value):
        pictures, samples = state.pictures.tolist(), state.samples.tolist()
        self.seen.append((place, state.index, pictures, samples, state.windows))
        return value

    def output(self, problem, state):
        return self._look("output", state, state.out)

    def clean(self, problem, state):
        return self._look("clean", state, state.x0)

    def after(self, problem, state):
        return self._look("after", state, state.x_next)

    def result(self, problem, state):
        return self._look("result", state, state.x_next)


def test_an_edit_acts_at_four_places_of_every_step():
    watching = Watching()
    restore(PICTURE, Denoising(), 0.1, PIXELWISE, SAMPLER, edits=[watching])
    places = [(place, index) for place, index, *_ in watching.seen]
    expected = [(place, k) for k in range(STEPS) for place in ("output", "clean", "after")]
    assert places == [*expected, ("result", STEPS - 1)]


@pytest.mark.parametrize("name", OPERATORS)
def test_an_edit_that_changes_nothing_changes_nothing(name):
    """But rounding: eps is derived anew from the clean image."""
    operator, y = measured(name)
    plain = restore(y, operator, 0.1, GAUSSIAN, SAMPLER, seed=3, clamp=False).mean
    watched = restore(
        y, operator, 0.1, GAUSSIAN, SAMPLER, seed=3, clamp=False, edits=[Watching()]
    ).mean
    assert torch.allclose(plain, watched, atol=2e-5)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 4])
def test_an_edit_knows_its_rows(batch_size):
    y = torch.cat([PICTURE, PICTURE[:1]])
    watching = Watching()
    restore(
        y, Denoising(), 0.1, PIXELWISE, SAMPLER, num_samples=2, batch_size=batch_size,
        edits=[watching],
    )  # fmt: skip
    rows = [
        (picture, sample)
        for place, _, pictures, samples, _ in watching.seen
        if place == "result"
        for picture, sample in zip(pictures, samples, strict=True)
    ]
    assert rows == [(picture, number) for number in range(2) for picture in range(3)]


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_a_pull_to_each_picture_is_to_its_own(batch_size):
    """What a closure of (x_t, t, labels) cannot know: which pictures its rows are."""
    targets = 2 * pictures(3, 3, 8, 8) - 1

    def towards(problem, state):
        return 0.5 * state.x0 + 0.5 * targets[state.pictures]

    y = torch.rand(3, 3, 8, 8)
    together = [Edit.at("clean", towards)]
    result = restore(
        y, Denoising(), 0.2, PIXELWISE, SAMPLER, edits=together, batch_size=batch_size
    ).mean
    for k in range(3):

        def alone(problem, state, k=k):
            return 0.5 * state.x0 + 0.5 * targets[k : k + 1]

        expected = restore(
            y[k : k + 1], Denoising(), 0.2, PIXELWISE, SAMPLER, seed=k,
            edits=[Edit.at("clean", alone)],
        ).mean  # fmt: skip
        assert torch.equal(result[k : k + 1], expected)


def test_an_edit_knows_its_windows():
    watching = Watching()
    restore_windows(
        torch.rand(1, 3, 24, 16), Denoising(), 0.1, PIXELWISE, SAMPLER, window=16, edits=[watching]
    )
    boxes = [windows[0] for place, *_, windows in watching.seen if place == "result"]
    assert [tuple(box) for box in boxes] == [(0, 0, 16, 16), (8, 0, 16, 16)]


@pytest.mark.parametrize("name", ["denoising", "super-resolution", "blur", "bicubic"])
def test_what_has_a_name_is_an_edit(name):
    """The keywords of ``restore`` and the edits that they stand for draw the same pictures."""
    operator, y = measured(name)
    shape = (2, *OPERATORS[name][1])
    image = pictures(*shape)
    known = Known(image > 0.6, image)
    hold = Hold(Colorization(), Colorization().H(image))
    by_name = restore(
        y, operator, 0.1, GAUSSIAN, FAST, clip_x0=True, holds=[hold], end_on_measurement=True,
        known=known, guidance=lambda x_t, t, labels: 0.1 * x_t, travel=Travel(2, 2),
    )  # fmt: skip
    edits = [
        Guidance(lambda x_t, t, labels: 0.1 * x_t), Clip(), hold, EndOnMeasurement(), known,
    ]  # fmt: skip
    drawing = Drawing(GAUSSIAN, FAST, edits, Travel(2, 2))
    assert torch.equal(draw(Problem.of(y, operator, 0.1), drawing).samples, by_name.samples)


def test_the_clean_image_is_changed_before_the_measurement_is_used():
    """With everything measured and no noise the measurement has the last word, whatever the edit says."""
    grey = Edit.at("clean", lambda problem, state: torch.zeros_like(state.x0))
    result = restore(PICTURE, Denoising(), 0.0, PIXELWISE, DDRM(3, eta_b=1.0), edits=[grey])
    final = restore(PICTURE, Denoising(), 0.0, PIXELWISE, DDRM(3), edits=[grey, EndOnMeasurement()])
    assert torch.allclose(result.mean, torch.full_like(PICTURE, 0.5))  # the last step gives x0
    assert torch.allclose(final.mean, PICTURE, atol=1e-6)


class Descent(Edit):
    """A step down the squared residual, as posterior samplers take: the gradient is taken by the loop."""

    differentiates = True

    def pull(self, problem, state):
        assert not torch.is_grad_enabled() and not state.x0.requires_grad
        return problem.H(state.x0) - problem.y

    def after(self, problem, state):
        return state.x_next - 0.1 * state.pull


class Curved(torch.nn.Module):
    """A network whose Jacobian is not the identity; counts its calls."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.7))
        self.calls = 0

    def forward(self, x_t, t):
        self.calls += 1
        return torch.tanh(self.weight * x_t) + 0.1 * x_t.roll(1, -1)


@pytest.mark.parametrize("clip_x0", [False, True])
@pytest.mark.parametrize("prediction", ["x0", "eps", "v"])
def test_a_pull_goes_through_the_network_once(prediction, clip_x0):
    """Against autograd of the whole, written out; the network's parameters get no gradient."""
    network = Curved()
    prior = Prior(network, prediction)
    y, sampler, seen = 2 * PICTURE - 1, DDIM([600, 300]), []

    class Square(Forward):
        """A map that is not linear."""

        range = (-1.0, 1.0)

        def check_image(self, shape):
            pass

        def image_shape(self, y):
            return tuple(y.shape[1:])

        def H(self, x):
            return x.square()

    class Residual(Descent):
        def pull(self, problem, state):
            with torch.enable_grad():
                x0 = state.x0.detach().requires_grad_()
                loss = (problem.H(x0) - problem.y).square().sum()
            return torch.autograd.grad(loss, x0)[0]

        def after(self, problem, state):
            seen.append((state.x_t.clone(), state.t, state.pull.clone()))
            return super().after(problem, state)

    restore(y, Square(), 0.0, prior, sampler, edits=[Residual()], clip_x0=clip_x0)
    assert network.calls == 2 and network.weight.grad is None
    for x_t, t, pull in seen:
        with torch.enable_grad():
            x = x_t.clone().requires_grad_()
            abar = prior.schedule.abar(t)
            out, a, s = network(x, None), abar**0.5, (1 - abar) ** 0.5
            x0 = {"x0": out, "eps": (x - s * out) / a, "v": a * x - s * out}[prediction]
            x0 = x0.clamp(-1, 1) if clip_x0 else x0
            loss = (x0.square() - y).square().sum()
        (expected,) = torch.autograd.grad(loss, x)
        assert torch.allclose(pull, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_one_picture_does_not_depend_on_its_batch_where_gradients_are_taken():
    prior = Prior(Curved(), "x0")
    y = torch.rand(3, 3, 8, 8)
    together = restore(y, Denoising(), 0.1, prior, SAMPLER, edits=[Descent()])
    alone = restore(y[1:2], Denoising(), 0.1, prior, SAMPLER, edits=[Descent()], seed=1)
    assert torch.equal(together.mean[1:2], alone.mean)


def test_two_edits_that_differentiate_have_a_pull_each():
    pulls = {}

    class Named(Descent):
        def __init__(self, name, factor):
            self.name, self.factor = name, factor

        def pull(self, problem, state):
            return self.factor * torch.ones_like(state.x0)

        def after(self, problem, state):
            pulls[self.name] = state.pull
            return state.x_next

    network = Curved()
    restore(
        PICTURE, Denoising(), 0.1, Prior(network, "x0"), DDRM([500]),
        edits=[Named("one", 1.0), Named("three", 3.0)],
    )  # fmt: skip
    assert network.calls == 1 and torch.allclose(3 * pulls["one"], pulls["three"])


def test_what_does_not_fit_is_said():
    y = torch.rand(1, 3, 8, 8)

    def call(**keywords):
        restore(y, Denoising(), 0.1, PIXELWISE, SAMPLER, **keywords)

    with pytest.raises(ValueError, match="^place: expected one of output, clean, after, result"):
        Edit.at("before", lambda problem, state: state.x0)
    with pytest.raises(ValueError, match="^function: expected a function of .problem, state."):
        Edit.at("clean", 3)
    with pytest.raises(ValueError, match="^edits: expected a list of edits"):
        call(edits=[lambda problem, state: state.x0])
    with pytest.raises(
        ValueError, match=r"^halved: expected a tensor of shape \(1, 3, 8, 8\), got"
    ):
        call(edits=[Edit.at("clean", lambda problem, state: state.x0[..., ::2], "halved")])
    with pytest.raises(ValueError, match="gives no gradients, which Descent needs"):
        restore(
            y, Denoising(), 0.1, Prior(lambda x, t: torch.zeros_like(x), "x0"), SAMPLER,
            edits=[Descent()],
        )  # fmt: skip
    with pytest.raises(ValueError, match="^low, high: expected low <= high"):
        Clip(1.0, 0.0)


class Brightness(Forward):
    """The mean of every picture: a forward map without a decomposition of ours."""

    range = (0.0, 1.0)

    def check_image(self, shape):
        pass

    def image_shape(self, y):
        return 3, 8, 8

    def H(self, x):
        self._check(x)
        return x.mean((1, 2, 3))[:, None]


def test_a_forward_map_is_enough_for_samplers_that_need_no_more():
    """And gets pictures in the range that it is made for."""
    operator = Brightness()
    y = operator.H(torch.full((2, 3, 8, 8), 0.8))
    ranges = []

    class Mean(Edit):
        def clean(self, problem, state):
            now = problem.H(state.x0)
            ranges.append(float(now.mean()))
            return state.x0 + 2 * (problem.y - now)[:, :, None, None]

    drawn = restore(y, operator, 0.0, GAUSSIAN, DDPM(20), edits=[Mean()], clamp=False)
    assert torch.allclose(operator.H(drawn.mean), y, atol=1e-5)
    assert min(ranges) > -0.5 and max(ranges) < 1.5
    with pytest.raises(ValueError, match="^sampler: DDRM works in the singular basis"):
        restore(y, operator, 0.0, GAUSSIAN, DDRM(5))
    with pytest.raises(
        ValueError, match="^sampler: end_on_measurement works in the singular basis"
    ):
        restore(y, operator, 0.0, GAUSSIAN, DDPM(5), end_on_measurement=True)
    # would draw from the prior, whatever was measured
    with pytest.raises(ValueError, match="^edits: got none, and DDPM does not look at what Bri"):
        restore(y, operator, 0.0, GAUSSIAN, DDPM(5))
    by_itself = restore(y, operator, 0.0, GAUSSIAN, clamp=False).mean  # down the distance
    prior = restore(y, operator, 0.0, GAUSSIAN, DPS(200, scale=1e-9, eta=1.0), clamp=False).mean
    assert (operator.H(by_itself) - y).norm() < (operator.H(prior) - y).norm() - 0.1
    with pytest.raises(ValueError, match="does not split over windows"):
        restore_windows(y, operator, 0.0, GAUSSIAN, DDPM(5), window=4, edits=[Mean()])


def test_edits_when_drawing_from_the_prior():
    grey = Edit.at("result", lambda problem, state: torch.zeros_like(state.x_next))
    assert (sample(PIXELWISE, (1, 3, 4, 4), DDIM(3), edits=[grey]) == 0.5).all()


def test_operators_say_what_defines_them():
    assert SuperResolution(2).parameters["factor"] == 2
    for operator, _ in OPERATORS.values():
        assert operator.name == type(operator).__name__ and operator.parameters is not None
