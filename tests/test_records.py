"""A problem and a drawing, written out and read back: the same pictures."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from small_cases import GAUSSIAN, OPERATORS, PICTURE, PIXELWISE, measured

from ddrm_fast import DDIM, DDPM, DDRM, Drawing, Known, Prior, Problem, Travel, draw, load_prior
from ddrm_fast.operators import Colorization, Denoising, Forward, Inpainting
from ddrm_fast.priors import classifier_free
from ddrm_fast.problems import records as problems
from ddrm_fast.problems.records import Arrays
from ddrm_fast.registry import EDITS, SAMPLERS, loaded, register_edit, register_sampler
from ddrm_fast.samplers import Clip, ClipKeepingNoise, Edit, EndOnMeasurement, Hold, records
from ddrm_fast.samplers.records import read_record, write_record


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    for registry in (SAMPLERS, EDITS):
        for name in ("_entries", "_aliases"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def through_json(value):
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize("name", OPERATORS)
def test_a_problem_reads_back(name):
    operator, y = measured(name)
    problem = Problem.of(y, operator, torch.tensor([0.1, 0.2]))
    arrays = Arrays()
    again = problems.problem_of(through_json(problems.describe(problem, arrays)), arrays)
    assert type(again.operator) is type(operator) and again.range == (0.0, 1.0)
    assert torch.equal(again.y, y) and torch.equal(again.sigma_y, problem.sigma_y)
    x = torch.rand(2, *problem.shape)
    assert torch.equal(again.operator.H(x), operator.H(x))
    shape = problem.shape
    assert torch.equal(again.operator.singulars(shape), operator.singulars(shape))


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_reads_back(name):
    made = loaded(SAMPLERS[name].make)
    for sampler in (made(), made(steps=[900, 500, 40])):
        assert records.sampler_of(through_json(records.describe_sampler(sampler))) == sampler
        assert records.sampler_of(repr(sampler)) == sampler  # as records had them before


def test_a_drawing_on_disk_draws_the_same_pictures(tmp_path):
    """Everything that a drawing may say; the prior by its name, the tensors beside the record."""
    mask = PICTURE[:, :1] > 0.6
    edits = [
        Clip(0.1, 0.9),
        Hold(Colorization((0.2, 0.5, 0.3)), Colorization((0.2, 0.5, 0.3)).H(PICTURE)),
        EndOnMeasurement(),
        Known(mask, PICTURE, gradient=0.05),
    ]
    drawing = Drawing(
        load_prior("gaussian"), DDRM(4, eta=0.7, eta_b=0.9, eta_c=0.5), edits, Travel(2, 2), None,
        torch.tensor([5, -7]), 2, first_sample=3, batch_size=1, clamp=False,
    )  # fmt: skip
    problem = Problem.of(PICTURE, Inpainting(PICTURE[0, 0] > 0.4), torch.tensor([0.1, 0.02]))
    write_record(tmp_path / "run.json", problem, drawing)
    again = read_record(tmp_path / "run.json")
    assert torch.equal(draw(*again).samples, draw(problem, drawing).samples)
    assert again[1].batch_size == 1 and not again[1].clamp
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text)["drawing"]["edits"][2] == {"name": "end-on-measurement"}
    assert len(text) < 6000  # the tensors are beside it


def test_tensors_are_named_where_they_are_kept_elsewhere():
    problem = Problem.of(PICTURE, Denoising(), 0.1)
    record = through_json(problems.describe(problem))
    assert record["y"] == {
        "sha256": problems.digest(PICTURE), "shape": [2, 3, 8, 8], "dtype": "float32",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"^y: the record names a tensor \(2, 3, 8, 8\) by its"):
        problems.problem_of(record, {})
    mine = {problems.digest(PICTURE): PICTURE}
    assert torch.equal(problems.problem_of(record, mine).y, PICTURE)
    assert problems.digest(PICTURE) != problems.digest(PICTURE.double())
    assert problems.digest(PICTURE) != problems.digest(PICTURE.view(2, 3, 4, 16))


def test_labels_and_a_prior_of_ones_own():
    drawing = Drawing(PIXELWISE, DDIM(5), labels=torch.tensor([3, 1]), seed=2**63)
    record = through_json(records.describe(drawing))
    with pytest.raises(ValueError, match="^prior: custom was made in memory, expected it as an"):
        records.drawing_of(record)
    again = records.drawing_of(record, prior=PIXELWISE)
    assert again.prior is PIXELWISE and again.labels.tolist() == [3, 1] and again.seed == 2**63
    assert again.sampler == DDIM(5) and list(again.edits) == []


def test_a_prior_is_the_one_that_it_was(tmp_path):
    """A file by its digest; and one around another network has no name."""
    from ddrm_fast.priors.load import DEFAULT

    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(DEFAULT.read_bytes())
    prior = load_prior(copy)
    prior.precision = "float32"
    record = through_json(records.describe(Drawing(prior)))
    assert record["prior"]["name"] == str(copy) and len(record["prior"]["sha256"]) == 64
    again = records.drawing_of(record)
    assert again.prior.source == prior.source
    assert again.in_precision().prior.precision == "float32"
    record["prior"]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match="^prior: .* is another file than it was, expected one"):
        records.drawing_of(record)
    classes = Prior(lambda x, t, labels: x, num_classes=3)
    classes.source = prior.source
    assert classifier_free(classes, 2.0, 2).source is None


def test_a_folder_is_known_by_all_its_files(tmp_path):
    from ddrm_fast.priors.source import Source

    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text("{}")
    source = Source("mine", tmp_path)
    before = source.digest()
    assert before == source.digest()
    (tmp_path / "unet/config.json").write_text("{ }")
    assert source.digest() != before and Source("gaussian").digest() is None


def test_records_of_the_shell_draw_their_pictures():
    """The parameters as ddrm_fast.restoration/1 has them."""
    parameters = {
        "input_sha256": "1f0c", "task": "noise", "task_parameters": {}, "sigma": "0.1",
        "sampler": "DDRM(steps=4, eta=0.85, eta_b=1.0, eta_c=None, start_scale='exact')",
        "travel": "Travel(length=2, repeat=2)", "samples": 2, "seed": 7, "end_on_measurement": True,
        "clip_x0": True, "prior": "gaussian", "prior_sha256": None, "precision": "float32",
    }  # fmt: skip
    drawing = records.drawing_of(through_json(parameters))
    meant = Drawing(
        GAUSSIAN, DDRM(4), [Clip(), EndOnMeasurement()], Travel(2, 2), seed=7, num_samples=2
    )
    problem = Problem.of(PICTURE[:1], Denoising(), 0.1)
    assert torch.equal(draw(problem, drawing).samples, draw(problem, meant).samples)
    edited = records.drawing_of(parameters | {"edits": ["clip:low=0.25,high=0.75"]})
    assert [type(edit) for edit in edited.edits] == [Clip, Clip, EndOnMeasurement]
    assert (edited.edits[1].low, edited.edits[1].high) == (0.25, 0.75)
    assert records.drawing_of(parameters | {"sampler": "None", "samples": None}).sampler is None
    with pytest.raises(ValueError, match=r"^classifier: the pictures were guided by c\.pt"):
        records.drawing_of(parameters | {"classifier": "c.pt"})
    with pytest.raises(ValueError, match=r"^record: got .__import__\('os'\)., expected such as"):
        records.drawing_of(parameters | {"sampler": "__import__('os')"})


@pytest.mark.parametrize("name", EDITS)
def test_every_registered_edit_reads_back(name):
    entry = EDITS[name]
    made = loaded(entry.make)
    for values in ({}, {p.name: 0.25 for p in entry.parameters}):
        edit = made(**values)
        record = through_json(records.describe(Drawing(PIXELWISE, DDIM(3), [edit])))
        (again,) = records.drawing_of(record, prior=PIXELWISE).edits
        assert type(again) is made
        assert all(getattr(again, p.name) == getattr(edit, p.name) for p in entry.parameters)
    assert ClipKeepingNoise in [loaded(entry.make) for entry in EDITS.values()]


def test_what_other_packages_bring_is_named_where_it_is_registered():
    @dataclass(frozen=True)
    class Half(Edit):
        """Moves the clean image.

        Args:
            share:
                By how much.
        """

        share: float = 0.5

        def clean(self, problem, state):
            return self.share * state.x0

    @dataclass(frozen=True)
    class Mine(DDPM):
        pass

    drawing = Drawing(PIXELWISE, Mine(7), [Half(0.25)])
    with pytest.raises(ValueError, match="^sampler: Mine is not registered"):
        records.describe(drawing)
    register_sampler("mine", Mine, "as DDPM")
    with pytest.raises(ValueError, match=r"^edits\[0\]: Half is not registered"):
        records.describe(drawing)
    assert register_edit("half", Half, "moves").parameters[0].help == "By how much."
    record = through_json(records.describe(drawing))
    assert record["edits"] == [{"name": "half", "share": 0.25}]
    again = records.drawing_of(record, prior=PIXELWISE)
    assert again.sampler == Mine(7) and list(again.edits) == [Half(0.25)]
    with pytest.raises(ValueError, match=r"^edits\[0\]: function is not registered"):
        records.describe(
            Drawing(PIXELWISE, edits=[Edit.at("clean", lambda p, s: s.x0, "function")])
        )


def test_what_a_record_cannot_name_is_said(tmp_path):
    class Own(Denoising):
        pass

    with pytest.raises(ValueError, match="^operator: Own is neither in ddrm_fast.operators nor"):
        problems.describe(Problem.of(PICTURE, Own(), 0.1))
    record = problems.describe(Problem.of(PICTURE, Denoising(), 0.1))
    record["operator"]["name"] = "gaussian_kernel"
    with pytest.raises(ValueError, match="^operator: got 'gaussian_kernel', expected a degrad"):
        problems.operator_of(record["operator"], {})
    with pytest.raises(ValueError, match="^operator: Denoising has other parameters"):
        problems.operator_of({"name": "Denoising", "parameters": {"side": 3}}, {})
    with pytest.raises(ValueError, match="^sampler: got 'zzz', "):
        records.sampler_of({"name": "zzz"})
    with pytest.raises(ValueError, match="^sampler: ddrm has other fields"):
        records.sampler_of({"name": "ddrm", "speed": 3})
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="expected a record of the format ddrm_fast.record/1"):
        read_record(tmp_path / "a.json")
    assert issubclass(Own, Forward)


def test_a_record_whose_tensors_were_changed_is_refused(tmp_path):
    write_record(
        tmp_path / "a.json", Problem.of(PICTURE, Denoising()), Drawing(load_prior("gaussian"))
    )
    stored = dict(np.load(tmp_path / "a.arrays.npz"))
    np.savez(tmp_path / "a.arrays.npz", **{name: 2 * array for name, array in stored.items()})
    with pytest.raises(ValueError, match="1 of its tensors are not what they were"):
        read_record(tmp_path / "a.json")
