"""`experiments.run`, and what `interp run` is given: options, and settings of experiments."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

from experiments.harness.durations import announce, in_words
from experiments.harness.paths import CUSTOM, TINY, default_model, model_label, results_root
from experiments.harness.registry import FOLDER, PRESET_NAMES, Experiment, find_experiment
from experiments.lab.config import ExperimentConfig, Seed, check, settings
from interp.assets.registry import models
from interp.errors import ExperimentError, ModelError, nearest

if TYPE_CHECKING:
    from experiments.harness.labs import LabData
    from experiments.harness.runner import Outcome, Plan
    from experiments.lab.progress import ProgressLog
    from experiments.lab.results import Result
    from interp.models import LoadedModel

    Model = str | os.PathLike[str] | LoadedModel

REFUSAL = "refusal"  # the behaviour that is studied unless another is named
Style = Literal["template", "none", "newline"]
Dtype = Literal["auto", "float32", "bfloat16"]
CHOICES: dict[str, tuple[str, ...]] = {
    "preset": PRESET_NAMES,
    "style": get_args(Style),
    "dtype": get_args(Dtype),
}


def shown_as(name: str) -> Any:
    """For an option that may be left out: what its value is called in the help."""
    return tyro.conf.arg(metavar=name, help_behavior_hint="")


Name = Annotated[str | None, shown_as("NAME")]
File = Annotated[Path | None, shown_as("FILE")]
Folder = Annotated[Path | None, shown_as("FOLDER")]


@dataclass(frozen=True)
class RunOptions:
    """Run experiments."""

    model: Name = None
    """A registered name (interp models), a hub id, a folder or a .gguf file. Default:
    qwen2.5-coder-0.5b, and tiny-random for the smoke preset."""
    preset: Literal["smoke", "quick", "full"] = "quick"
    """smoke: random weights, seconds. quick: minutes. full: all prompts, all layers."""
    behaviour: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = REFUSAL
    """A registered behaviour (interp find --help names them), or a .yaml file of your own. What the
    texts call refused is then an answer whose score is above 0, and harmful a prompt that shows it.
    """
    positive: File = None
    """Prompts that should be refused, instead of the registered: .jsonl, .json, .csv or .txt."""
    negative: File = None
    """Prompts that should not be refused; goes with --positive."""
    field: Name = None
    """Name of the text field in those files, if it is not instruction, prompt or text."""
    style: Annotated[Style | None, shown_as("STYLE")] = None
    """How a prompt is put to the model: template, none (as it is) or newline (after it). If not
    given, as the behaviour says: refusal in the model's chat template."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Dtype = "auto"
    """auto is bfloat16 where the processor multiplies it natively, else float32. Activations are
    captured in float32 either way."""
    out: Folder = None
    """Results folder instead of `results`."""
    force: bool = False
    """Measure again even if nothing has changed."""


@dataclass(frozen=True)
class SharedSettings:
    """Settings that every experiment has."""

    seed: Annotated[Seed | None, shown_as("INT")] = None
    """Draws the splits, subsamples and nulls anew; each preset has its own."""

    def __post_init__(self) -> None:
        check(self)


Settings = ExperimentConfig | SharedSettings


def check_choices(given: Mapping[str, str | None]) -> None:
    """Raise ExperimentError, naming the nearest, for an unknown preset, style or dtype."""
    for name, value in given.items():
        if value is not None and value not in CHOICES[name]:
            raise ExperimentError(f"Unknown {name} '{value}'{nearest(value, CHOICES[name])}")


def check_options(options: RunOptions) -> None:
    """Raise ExperimentError for one file of prompts without the other, or for too many of them."""
    if (options.positive is None) != (options.negative is None):
        raise ExperimentError("Give both --positive FILE and --negative FILE, or neither.")
    if options.positive is not None and options.behaviour != REFUSAL:
        raise ExperimentError(
            f"--behaviour {options.behaviour} has prompts of its own; answers to --positive and "
            "--negative are scored as refusals. For prompts and a score of your own, name both in "
            "a .yaml file: `interp find --help` shows one."
        )


def own_label(options: RunOptions) -> str:
    """What results of another behaviour, or of prompts of one's own, are filed under."""
    if options.positive is not None and options.negative is not None:
        return f"{options.positive.stem}-{options.negative.stem}"
    return "" if options.behaviour == REFUSAL else behaviour_label(options.behaviour)


def behaviour_label(behaviour: str) -> str:
    """A behaviour's name, or that of its file, which never stands for a registered behaviour."""
    from interp.behaviours import REGISTERED

    stem = Path(behaviour).stem
    return f"{stem}-own" if stem in REGISTERED and stem != behaviour else stem


def data_of(options: RunOptions) -> LabData:
    """The prompts and the behaviour that are asked for."""
    from experiments.harness.labs import load_data

    return load_data(options.behaviour, options.positive, options.negative, options.field)


def style_of(options: RunOptions) -> Style:
    """The style that is asked for, else the behaviour's own."""
    if options.style is not None or options.behaviour == REFUSAL:
        return options.style or "template"
    from interp.behaviours import behaviour

    return behaviour(options.behaviour).style


def run_experiments(
    experiments: Sequence[Experiment],
    options: RunOptions,
    config: Settings,
    progress: ProgressLog,
    loaded: LoadedModel | None = None,
) -> list[Outcome]:
    """Say how long it takes, then load what is needed, and run.

    The model is `loaded` if that is given; `options.model` then names it.
    """
    from experiments.harness.labs import ModelBench
    from experiments.harness.runner import run_plans
    from experiments.harness.saving import check_writable
    from interp.assets.folders import identity

    started, root = monotonic(), results_root(options.out)
    check_writable(root)
    name = options.model or default_model(options.preset)
    sha256 = identity(name) if loaded is None else loaded.sha256
    label = model_label(name, lambda _: sha256, own_label(options), TINY)
    plans = make_plans(experiments, options, config, root, label)
    announce(plans, name, [root, results_root()], progress.say)
    bench = ModelBench(
        model=name,
        sha256=sha256,
        source=data_of(options),
        preset=options.preset,
        style=style_of(options),
        dtype=options.dtype,
        device=options.device,
        progress=progress,
        loaded=loaded,
    )
    outcomes = run_plans(plans, bench, force=options.force, say=progress.say)
    progress.say(f"took {in_words(monotonic() - started)}")
    return outcomes


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0, or an ExperimentError that names the experiments that failed."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if not failed:
        return 0
    if len(failed) == 1 and len(outcomes) == 1:
        raise ExperimentError(failed[0].error)
    reasons = "; ".join(f"{outcome.name}: {outcome.error}" for outcome in failed)
    raise ExperimentError(f"{len(failed)} of {len(outcomes)} experiments failed. {reasons}")


def with_shared(preset: ExperimentConfig, shared: SharedSettings) -> ExperimentConfig:
    """A preset with what was given for several experiments."""
    return preset if shared.seed is None else dataclasses.replace(preset, seed=shared.seed)


def make_plans(
    experiments: Sequence[Experiment],
    options: RunOptions,
    config: Settings,
    root: Path,
    label: str,
) -> list[Plan]:
    """One plan per experiment. Changed settings get a folder apart, unless --out names one."""
    from experiments.harness.runner import Plan

    plans = []
    for experiment in experiments:
        preset = experiment.preset(options.preset)
        is_shared = isinstance(config, SharedSettings)
        chosen = with_shared(preset, config) if is_shared else config
        own = chosen != preset and options.out is None
        folder = (root / CUSTOM if own else root) / options.preset / label / experiment.name
        plans.append(Plan(experiment, chosen, options.preset, folder))
    return plans


def run(
    number: str,
    model: Model | None = None,
    preset: str = "quick",
    style: str | None = None,
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

    The options are those of the command: `behaviour` (a name or a .yaml file), `positive` and
    `negative` (files of prompts), `field`, `out`, and every setting of the experiment
    (`n_train=40`, `seed=1`). With `progress` it is shown on stderr how far the run is. Raises
    InterpError: ExperimentError for an unknown experiment, preset, style or setting, and for an
    experiment that fails.
    """
    return request(number, model, preset, style, **options).run(force, progress)


@dataclass(frozen=True)
class Request:
    """One experiment with its options and all of its settings, of which some were `given`.

    `options.model` names the model, also a loaded one.
    """

    experiment: Experiment
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
        from interp.assets.folders import identity

        options = self.options
        label = model_label(str(options.model), identity, own_label(options), TINY)
        root = results_root(options.out)
        (plan,) = make_plans([self.experiment], options, self.config, root, label)
        return plan.folder

    def run(self, force: bool, progress: bool) -> Result:
        """Measure it if there is no unchanged result, and load the result."""
        from experiments.lab.progress import Silent, progress_log

        log = progress_log() if progress else nullcontext(Silent())
        with TemporaryDirectory() as passing, log as shown:
            options = dataclasses.replace(self.options, force=force or not self.identified)
            if not self.identified and options.out is None:
                shown.say("It is unknown what identifies these weights: the result is not kept.")
                options = dataclasses.replace(options, out=Path(passing))
            outcomes = run_experiments([self.experiment], options, self.config, shown, self.loaded)
            exit_code(outcomes)
            from experiments.harness.store import load_result

            return load_result(outcomes[0].folder)

    def saved(self, any_style: bool = False) -> Result | None:
        """A saved result of what is asked for, whether or not the code has changed since."""
        from experiments.harness.store import finite, load_result, saved

        content = saved(self.folder) if self.identified else {}
        fits = (
            content
            and (any_style or content["style"] == style_of(self.options))
            and (not self.given or content["config"] == finite(settings(self.config)))
            and self._is_of_these_prompts(content)
        )
        return load_result(self.folder) if fits else None

    def _is_of_these_prompts(self, content: Mapping[str, Any]) -> bool:
        if not own_label(self.options):
            return True
        contrast = data_of(self.options).contrast
        return contrast.sha256 in [entry["sha256"] for entry in content["data"]]


def request(
    number: str,
    model: Model | None,
    preset: str,
    style: str | None,
    *,
    behaviour: str | Path = REFUSAL,
    positive: str | Path | None = None,
    negative: str | Path | None = None,
    field: str | None = None,
    out: str | Path | None = None,
    folder: Path = FOLDER,
    **given: Any,
) -> Request:
    """Check what `run` is asked for; nothing is loaded. Raises ExperimentError and ModelError."""
    check_choices({"preset": preset, "style": style})
    experiment = find_experiment(number, folder)
    config = with_settings(experiment.preset(preset), given, experiment.name)
    name, loaded = _named(default_model(preset) if model is None else model)
    options = RunOptions(
        model=name,
        preset=preset,  # type: ignore[arg-type]
        behaviour=str(behaviour),
        positive=None if positive is None else Path(positive),
        negative=None if negative is None else Path(negative),
        field=field,
        style=style,  # type: ignore[arg-type]
        out=None if out is None else Path(out),
    )
    check_options(options)
    return Request(experiment, options, config, given, loaded)


def _named(model: Model) -> tuple[str, LoadedModel | None]:
    """A model's name, and the model itself if it is loaded, with what identifies it now.

    A loaded model goes by a registered name only if it has those weights.
    """
    if isinstance(model, str | os.PathLike):
        return os.fspath(model), None
    from interp.assets.folders import identity
    from interp.models import LoadedModel

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


def with_settings(
    preset: ExperimentConfig, given: Mapping[str, Any], experiment: str
) -> ExperimentConfig:
    """The settings of a preset with those that are given; lists become tuples.

    Raises ExperimentError, naming the nearest, for an unknown setting, and for a value that is not
    of the setting's type.
    """
    for key in given:
        if key not in settings(preset):
            known = nearest(key, settings(preset))
            raise ExperimentError(f"{experiment} has no setting '{key}'{known}")
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    return dataclasses.replace(preset, **values)
