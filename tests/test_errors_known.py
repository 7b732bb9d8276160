"""Wrong known pixels and holds are named, before the network is called."""

import pytest
import torch
from small_cases import PICTURE, restore_small

from ddrm_fast import Hold, Known, Prior, ops
from ddrm_fast.operators import Colorization, Denoising, Inpainting, SuperResolution
from ddrm_fast.samplers import DDRM, run

pytestmark = pytest.mark.filterwarnings("error")  # nothing warns unless a test says so
MASK = torch.ones(1, 1, 8, 8, dtype=torch.bool)
NAN = float("nan")


def _untouched(x_t, t):
    raise AssertionError("the network was called")


def _refused(match, **keywords):
    with pytest.raises(ValueError, match=match):
        restore_small(prior=Prior(_untouched), **keywords)


@pytest.mark.parametrize(
    "mask, image, message",
    [
        (MASK[0], PICTURE, r"known\.mask: expected \(2 or 1, 1 or 3, 8, 8\), got \(1, 8, 8\)"),
        (MASK[..., :7], PICTURE, r"known\.mask: expected .*, got \(1, 1, 8, 7\)"),
        (MASK.expand(3, 1, 8, 8), PICTURE, r"known\.mask: expected .*, got \(3, 1, 8, 8\)"),
        (MASK.float(), PICTURE, r"known\.mask: expected torch\.bool, got torch\.float32"),
        (MASK.tolist(), PICTURE, r"known\.mask: expected a tensor, got list"),
        (MASK.to("meta"), PICTURE, r"known\.mask: is on meta, the state is on cpu"),
        (MASK, PICTURE[:, :1], r"known\.image: expected \(2 or 1, 3, 8, 8\), got \(2, 1, 8, 8\)"),
        (MASK, PICTURE.double(), r"known\.image: expected torch\.float32 like the state"),
        (MASK, None, r"known\.image: expected a tensor, got NoneType"),
        (MASK, PICTURE + NAN, r"known\.image: has 384 NaN or infinite known pixels"),
        (MASK, 255 * PICTURE, r"known\.image: expected known pixels in \[0, 1\], got .* to 2"),
        (MASK, PICTURE - 0.5, r"known\.image: expected known pixels in \[0, 1\], got -0\."),
    ],
)
def test_known_pixels(mask, image, message):
    _refused(f"^{message}", known=Known(mask, image))


def test_known_pixels_of_another_kind():
    _refused(r"^known: expected a Known\(mask, image\), got tuple", known=(MASK, PICTURE))


def test_what_is_not_known_may_be_anything():
    image = torch.full((1, 3, 8, 8), NAN)
    image[..., 0] = 0.25
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 0] = True
    result = restore_small(known=Known(mask, image)).mean
    assert torch.isfinite(result).all() and (result[..., 0] == 0.25).all()


GREY = Colorization()
SMALL = GREY.H(PICTURE)


@pytest.mark.parametrize(
    "hold, message",
    [
        (
            Hold(GREY, SMALL[..., :7]),
            r"measurement: expected one of images \(3, 8, 8\), batch 2 or 1",
        ),
        (Hold(GREY, SMALL[0]), r"measurement: does not fit its operator; y: expected"),
        (Hold(SuperResolution(2), PICTURE), r"measurement: expected .*got one of \(3, 16, 16\)"),
        (Hold(GREY, SMALL.expand(2, 1, 8, 8)[[0, 0, 1]]), r"measurement: expected .*batch 3"),
        (Hold(GREY, SMALL.double()), r"measurement: expected torch\.float32 on cpu like y"),
        (Hold(GREY, SMALL.to("meta")), r"measurement: expected .*got torch\.float32 on meta"),
        (Hold(GREY, 0.5), r"measurement: expected .*got float"),
        (Hold(GREY, SMALL + NAN), r"measurement: has NaN or infinite entries"),
        (Hold("grey", SMALL), r"operator: expected an Operator, got str"),
        (
            Hold(Inpainting(torch.ones(3, 1, 8, 8)), PICTURE),
            r"operator: is for a batch of 3, got 2",
        ),
    ],
)
def test_holds(hold, message):
    good = Hold(GREY, SMALL)
    _refused(rf"^holds\[1\]\.{message}", holds=[good, hold])


@pytest.mark.parametrize("holds", [Hold(GREY, SMALL), [SMALL], None, "grey"])
def test_holds_of_another_kind(holds):
    _refused(r"^holds: expected a list of Hold\(operator, measurement\), got", holds=holds)


def test_the_loop_checks_them_too():
    """Its callers need not."""
    arguments = (Denoising(), Prior(_untouched), DDRM(steps=2), PICTURE)
    arguments += (torch.zeros(1).double(), ops.noise_keys(2))
    with pytest.raises(ValueError, match=r"^known\.mask: expected"):
        run(*arguments, known=Known(MASK[0], PICTURE))
    with pytest.raises(ValueError, match=r"^holds\[0\]\.measurement: expected"):
        run(*arguments, holds=[Hold(GREY, SMALL.double())])
