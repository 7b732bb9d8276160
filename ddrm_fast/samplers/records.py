"""A drawing written out as JSON values, and read back; a problem and its drawing on disk.

>>> write_record("run.json", problem, drawing)
>>> draw(*read_record("run.json"))  # the same pictures
"""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..io.files import read_bytes, write_atomically, write_json
from ..operators import Operator
from ..priors import Prior, classifier_free, load_prior
from ..problems import Problem, records
from ..problems.records import Arrays, meant, plain
from ..registry import EDITS, SAMPLERS, SamplerEntry, edit_of, loaded
from .drawing import Drawing
from .edits import Clip, Edit, EndOnMeasurement, Hold, Known
from .steps import Steps, parse_steps
from .travel import Travel
from .weights import Sampler

FORMAT = "ddrm_fast.record/1"
#: fields of a drawing that are numbers, words or switches already
_PLAIN = ("num_samples", "first_sample", "batch_size", "capture", "clamp")


def describe(
    drawing: Drawing, arrays: Arrays | None = None, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """A drawing as JSON values.

    Args:
        drawing:
            How pictures are restored.
        arrays:
            Where tensors of its edits go; None: they are named by their digests, and kept nowhere.
        device:
            Where it draws: what "auto" means for the precision of a network depends on it.

    Raises:
        ValueError: the sampler is not registered, or an edit is a function, which a record cannot hold.
    """
    arrays = Arrays() if arrays is None else arrays
    seed, labels, travel = drawing.seed, drawing.labels, drawing.travel
    return {
        "prior": _prior(drawing.in_precision().prior, device),
        "sampler": None if drawing.sampler is None else describe_sampler(drawing.sampler, arrays),
        "edits": [
            describe_edit(f"edits[{k}]", edit, arrays) for k, edit in enumerate(drawing.edits)
        ],
        "travel": None if travel is None else {"length": travel.length, "repeat": travel.repeat},
        "labels": None if labels is None else labels.tolist(),
        "seed": seed.tolist() if isinstance(seed, Tensor) else int(seed),
        **{name: getattr(drawing, name) for name in _PLAIN},
    }


def drawing_of(
    record: Mapping[str, Any],
    arrays: Mapping[str, Tensor] | None = None,
    *,
    prior: Prior | None = None,
    device: torch.device | str = "cpu",
) -> Drawing:
    """The drawing that :func:`describe` wrote, or that of the parameters in a record of the shell.

    Args:
        record:
            Its JSON values. Those in a record ddrm_fast.restoration/1, which has the sampler as Python writes
            it, also say what was measured and how it was cut into windows: no part of a drawing.
        arrays:
            Tensors by :func:`ddrm_fast.problems.records.digest`.
        prior:
            The prior; None: it is loaded by its name, and its digest compared.
        device:
            Where it goes.

    Raises:
        ValueError: a tensor, the sampler or the prior is missing, or another one.
    """
    if isinstance(record["sampler"], str):
        return _of_earlier(record, prior, device)
    arrays = {} if arrays is None else arrays
    travel, labels, seed = record["travel"], record["labels"], record["seed"]
    said = record["prior"]
    if prior is None:
        prior = _loaded(said["name"], said["config"], said["sha256"], said["source"], device)
    return Drawing(
        prior,
        None if record["sampler"] is None else sampler_of(record["sampler"]),
        [_edit_of(f"edits[{k}]", edit, arrays) for k, edit in enumerate(record["edits"])],
        None if travel is None else Travel(**travel),
        None if labels is None else torch.tensor(labels),
        torch.tensor(seed) if isinstance(seed, list) else seed,
        precision=said["precision"],
        **{name: record[name] for name in _PLAIN},
    )


def _prior(prior: Prior, device: torch.device | str) -> dict[str, Any]:
    source = prior.source
    return {
        "name": prior.name if source is None else source.name,
        "source": source is not None,
        "config": None if source is None or source.config is None else dict(source.config),
        "sha256": None if source is None else source.digest(),
        "precision": prior.precision_on(device),
    }


def _loaded(
    name: str,
    config: Mapping[str, Any] | None,
    sha256: str | None,
    known: bool,
    device: torch.device | str,
) -> Prior:
    """A prior by its name, which is the one that it was."""
    if not known:
        raise ValueError(f"prior: {name} was made in memory, expected it as an argument")
    prior = load_prior(name, config, device)
    source = prior.source
    found = None if source is None else source.digest()
    if sha256 not in (None, found):
        raise ValueError(
            f"prior: {name} is another file than it was, expected one with SHA-256 {sha256}, got {found}"
        )
    return prior


def describe_sampler(sampler: Sampler, arrays: Arrays | None = None) -> dict[str, Any]:
    """Name and fields of a sampler.

    Raises:
        ValueError: it is not registered, or a field is no number, word or list of them.
    """
    entry = SAMPLERS.of(type(sampler))
    if entry is None or not is_dataclass(sampler):
        raise ValueError(
            f"sampler: {type(sampler).__name__} is not registered (ddrm_fast.registry.register_sampler), so "
            "a record cannot name it"
        )
    arrays = Arrays() if arrays is None else arrays
    values = {}
    for field in fields(sampler):
        value = getattr(sampler, field.name)
        value = str(value) if isinstance(value, Steps) else value
        if field.init:
            values[field.name] = plain(f"sampler.{field.name}", value, arrays)
    return {"name": entry.name, **values}


def sampler_of(record: Mapping[str, Any] | str) -> Sampler:
    """The sampler that :func:`describe_sampler` wrote, or one as its ``repr`` says it.

    Raises:
        ValueError: its name or a field is not known, or a value is wrong.
    """
    if isinstance(record, str):
        name, values = _called(record)
        entry = _entry_of_class(name)
    else:
        values = dict(record)
        entry = SAMPLERS.find(values.pop("name"))
    if isinstance(values.get("steps"), str):
        values["steps"] = parse_steps(values["steps"])
    try:
        return loaded(entry.make)(**values)
    except TypeError as error:
        raise ValueError(f"sampler: {entry.name} has other fields ({error})") from error


def _entry_of_class(name: str) -> SamplerEntry:
    for entry in SAMPLERS.values():
        if getattr(loaded(entry.make), "__name__", "") == name:
            return entry
    return SAMPLERS.find(name)


def _called(text: str) -> tuple[str, dict[str, Any]]:
    """Name and keywords of ``Name(keyword=literal, ...)``; nothing is run."""
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("no call with keywords")
        return call.func.id, {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"record: got {text!r}, expected such as DDRM(steps=20)") from error


def describe_edit(name: str, edit: Edit, arrays: Arrays | None = None) -> dict[str, Any]:
    """Name and parameters of an edit.

    Raises:
        ValueError: it is not registered.
    """
    arrays = Arrays() if arrays is None else arrays
    if isinstance(edit, Hold):
        operator = records.describe_operator(edit.operator, arrays)
        measurement = arrays.reference(edit.measurement)
        return {"name": "hold", "operator": operator, "measurement": measurement}
    if isinstance(edit, Known):
        mask, image = arrays.reference(edit.mask), arrays.reference(edit.image)
        return {"name": "known", "mask": mask, "image": image, "gradient": edit.gradient}
    entry = EDITS.of(type(edit))
    if entry is None:
        raise ValueError(
            f"{name}: {edit} is not registered (ddrm_fast.registry.register_edit), as a function cannot be, "
            "so a record cannot name it"
        )
    values = {
        parameter.name: plain(f"{name}.{parameter.name}", getattr(edit, parameter.name), arrays)
        for parameter in entry.parameters
    }
    return {"name": entry.name, **values}


def _edit_of(name: str, record: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Edit:
    values = dict(record)
    kind = values.pop("name")
    if kind == "hold":
        operator = records.operator_of(values["operator"], arrays)
        if not isinstance(operator, Operator):
            raise ValueError(f"{name}.operator: expected an Operator, got {operator}")
        return Hold(operator, meant(f"{name}.measurement", values["measurement"], arrays))
    if kind == "known":
        mask, image = (meant(f"{name}.{part}", values[part], arrays) for part in ("mask", "image"))
        return Known(mask, image, values["gradient"])
    given = {key: meant(f"{name}.{key}", value, arrays) for key, value in values.items()}
    return loaded(EDITS.find(kind).make)(**given)


def _of_earlier(
    parameters: Mapping[str, Any], prior: Prior | None, device: torch.device | str
) -> Drawing:
    """That of the parameters in a record of the format ddrm_fast.restoration/1."""
    if "classifier" in parameters:
        raise ValueError(
            f"classifier: the pictures were guided by {parameters['classifier']}, whose gradient a record "
            "cannot hold; expected a record without one"
        )
    if prior is None:
        name, config = parameters["prior"], parameters.get("prior_config")
        prior = _loaded(name, config, parameters["prior_sha256"], True, device)
        if "null_label" in parameters:
            scale = parameters.get("guidance", 1.0)
            prior = classifier_free(prior, scale, parameters["null_label"])
    edits: list[Edit] = [Clip()] if parameters["clip_x0"] else []
    edits += [edit_of(text) for text in parameters.get("edits", [])]
    edits += [EndOnMeasurement()] if parameters["end_on_measurement"] else []
    travel, label = parameters.get("travel"), parameters.get("label")
    return Drawing(
        prior,
        None if parameters["sampler"] == "None" else sampler_of(parameters["sampler"]),
        edits,
        None if travel is None else Travel(**_called(travel)[1]),
        None if label is None else torch.tensor([label]),
        parameters["seed"],
        parameters["samples"],
        precision=parameters["precision"],
    )


def write_record(
    path: str | Path, problem: Problem, drawing: Drawing, *, device: torch.device | str = "cpu"
) -> None:
    """Writes a problem and its drawing: JSON, and beside it the tensors, ``NAME.arrays.npz``.

    Args:
        path:
            The JSON file.
        problem, drawing:
            What :func:`ddrm_fast.draw` takes.
        device:
            Where it draws, see :func:`describe`.

    Raises:
        ValueError: a record cannot name the degradation, the sampler or an edit.
        OutputError: a file cannot be written.
    """
    path, arrays = Path(path), Arrays()
    if drawing.sampler is None:
        plans = drawing.planned(problem)
        if len(plans) > 1:
            raise ValueError(
                f"drawing.sampler: the pictures of the batch have {len(plans)} plans; expected one, or "
                "a record for each picture"
            )
        drawing = plans[0][0]
    record = {
        "format": FORMAT,
        "problem": records.describe(problem, arrays),
        "drawing": describe(drawing, arrays, device),
    }
    content = io.BytesIO()
    # (numpy types every keyword as its own allow_pickle)
    np.savez(content, **{name: tensor.numpy() for name, tensor in arrays.items()})  # type: ignore[arg-type]
    write_atomically(_arrays_of(path), content.getvalue())
    write_json(path, record)


def read_record(
    path: str | Path, *, prior: Prior | None = None, device: torch.device | str = "cpu"
) -> tuple[Problem, Drawing]:
    """The problem and the drawing that :func:`write_record` wrote.

    Args:
        path:
            The JSON file; its tensors lie beside it.
        prior:
            The prior, where it was made in memory.
        device:
            Where measurement and network go.

    Raises:
        ValueError: the file is no such record, or what it names is missing or another one.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        record = json.loads(read_bytes(path))
    except ValueError as error:
        raise ValueError(f"{path}: expected a record in JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a record of the format {FORMAT}")
    with np.load(io.BytesIO(read_bytes(_arrays_of(path))), allow_pickle=False) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    changed = [name for name, tensor in arrays.items() if records.digest(tensor) != name]
    if changed:
        raise ValueError(
            f"{_arrays_of(path)}: {len(changed)} of its tensors are not what they were"
        )
    problem = records.problem_of(record["problem"], arrays, device)
    return problem, drawing_of(record["drawing"], arrays, prior=prior, device=device)


def _arrays_of(path: Path) -> Path:
    return path.with_suffix(".arrays.npz")
