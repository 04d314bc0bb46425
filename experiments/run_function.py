"""`experiments.run`: `interp run` for one experiment, called from Python."""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from experiments.config import ExperimentConfig, settings
from experiments.paths import model_label, results_root
from experiments.registry import (
    FOLDER,
    ExperimentFile,
    find_experiment,
    load_experiment,
    preset_config,
)
from experiments.results import Result, finite, load_result
from experiments.run_command import (
    TINY,
    RunOptions,
    check_choices,
    check_options,
    default_model,
    exit_code,
    make_plans,
    run_files,
)
from experiments.suggest import nearest
from interp.errors import ExperimentError, ModelError
from interp.prompt_files import contrast_from_files
from interp.registry import models

if TYPE_CHECKING:
    from interp.models import LoadedModel

    Model = str | os.PathLike[str] | LoadedModel


def run(
    number: str,
    model: Model | None = None,
    preset: str = "quick",
    style: str = "template",
    *,
    force: bool = False,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Run an experiment, unless an unchanged result is saved, and return its result.

    `model` is a name as for `interp run` (registered, hub id, folder, .gguf file), or a loaded
    model (load it yourself for another dtype or device). Where it is not known what identifies its
    weights, or they were changed since they were loaded, the experiment is always measured, and
    the result is kept only if `out` says where.

    The options are those of the command: `positive` and `negative` (files of prompts), `field`,
    `out`, and every setting of the experiment (`n_train=40`, `seed=1`). With `progress` it is
    shown on stderr how far the run is. Raises InterpError: ExperimentError for an unknown
    experiment, preset, style or setting, and for an experiment that fails.
    """
    return request(number, model, preset, style, **options).run(force, progress)


@dataclass(frozen=True)
class Request:
    """One experiment with its options and all of its settings, of which some were `given`.

    `options.model` names the model, also a loaded one.
    """

    file: ExperimentFile
    options: RunOptions
    config: ExperimentConfig
    given: Mapping[str, Any]
    loaded: LoadedModel | None = None

    @property
    def identified(self) -> bool:
        """Whether it is known which weights a result would be of."""
        return self.loaded is None or bool(self.loaded.info.sha256)

    @property
    def folder(self) -> Path:
        """Where `interp run` puts the result."""
        from interp.models import identity

        options = self.options
        label = model_label(str(options.model), identity, options.positive, TINY)
        root = results_root(options.out)
        (plan,) = make_plans([self.file], options, self.config, root, label)
        return plan.folder

    def run(self, force: bool, progress: bool) -> Result:
        """Measure it if there is no unchanged result, and load the result."""
        from experiments.progress import Silent, progress_log

        log = progress_log() if progress else nullcontext(Silent())
        with TemporaryDirectory() as passing, log as shown:
            options = dataclasses.replace(self.options, force=force or not self.identified)
            if not self.identified and options.out is None:
                shown.say("It is unknown what identifies these weights: the result is not kept.")
                options = dataclasses.replace(options, out=Path(passing))
            outcomes = run_files([self.file], options, self.config, shown, self.loaded)
            exit_code(outcomes)
            return load_result(outcomes[0].folder)

    def saved(self, any_style: bool = False) -> Result | None:
        """A saved result of what is asked for, whether or not the code has changed since."""
        from experiments.runner import saved

        content = saved(self.folder) if self.identified else {}
        fits = (
            content
            and (any_style or content["style"] == self.options.style)
            and (not self.given or content["config"] == finite(settings(self.config)))
            and self._is_of_these_prompts(content)
        )
        return load_result(self.folder) if fits else None

    def _is_of_these_prompts(self, content: Mapping[str, Any]) -> bool:
        options = self.options
        if options.positive is None:
            return True
        contrast = contrast_from_files(options.positive, options.negative, options.field)
        return contrast.sha256 in [entry["sha256"] for entry in content["data"]]


def request(
    number: str,
    model: Model | None,
    preset: str,
    style: str,
    *,
    positive: str | Path | None = None,
    negative: str | Path | None = None,
    field: str | None = None,
    out: str | Path | None = None,
    folder: Path = FOLDER,
    **given: Any,
) -> Request:
    """Check what `run` is asked for; nothing is loaded. Raises ExperimentError and ModelError."""
    check_choices({"preset": preset, "style": style})
    file = find_experiment(number, folder)
    config = with_settings(preset_config(load_experiment(number, folder), preset), given, file.name)
    name, loaded = _named(default_model(preset) if model is None else model)
    options = RunOptions(
        model=name,
        preset=preset,  # type: ignore[arg-type]
        positive=None if positive is None else Path(positive),
        negative=None if negative is None else Path(negative),
        field=field,
        style=style,  # type: ignore[arg-type]
        dtype=_asked_dtype(loaded),  # type: ignore[arg-type]
        out=None if out is None else Path(out),
    )
    check_options(options, [file])
    return Request(file, options, config, given, loaded)


def _named(model: Model) -> tuple[str, LoadedModel | None]:
    """A model's name, and the model itself if it is loaded, with what identifies it now.

    A loaded model goes by a registered name only if it has those weights.
    """
    if isinstance(model, str | os.PathLike):
        return os.fspath(model), None
    from interp.models import LoadedModel, identity

    if not isinstance(model, LoadedModel):
        raise ModelError(
            f"A model cannot be a {type(model).__name__}; expected a name, a path, or what "
            "interp.models.load or from_huggingface returns."
        )
    name, sha256 = model.info.name, model.sha256
    loaded = dataclasses.replace(model, info=dataclasses.replace(model.info, sha256=sha256))
    if name in (*models(), TINY) and sha256 == identity(name):
        return name, loaded
    return f"{name}-{sha256[:8] or 'unidentified'}", loaded


def _asked_dtype(loaded: LoadedModel | None) -> str:
    """The dtype that loading by name would have been asked for to get this model."""
    if loaded is None:
        return "auto"
    from interp.models import choose_dtype

    usual = loaded.dtype == choose_dtype("auto", loaded.device)
    return "auto" if usual else loaded.info.dtype


def with_settings(
    preset: ExperimentConfig, given: Mapping[str, Any], experiment: str
) -> ExperimentConfig:
    """The settings of a preset with those that are given; lists become tuples.

    Raises ExperimentError, naming the nearest, for an unknown setting, and for a value that is not
    of the setting's type.
    """
    expected = get_type_hints(type(preset))
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    for key, value in values.items():
        if key not in settings(preset):
            known = nearest(key, settings(preset))
            raise ExperimentError(f"{experiment} has no setting '{key}'{known}")
        if not _fits(value, expected[key]):
            kind = getattr(expected[key], "__name__", expected[key])
            raise ExperimentError(f"{experiment}: {key} cannot be {value!r}; expected {kind}.")
    return dataclasses.replace(preset, **values)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of the type of a setting: plain, one of several, or tuple[X, ...]."""
    if get_origin(kind) in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    plain = isinstance(value, int | float if kind is float else kind)
    return plain and isinstance(value, bool) == (kind is bool)
