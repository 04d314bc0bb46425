"""`interp run`: options, the settings of one experiment as flags, and what to run where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from experiments.cli import parse
from experiments.config import ExperimentConfig, title
from experiments.paths import CUSTOM, model_label, results_root
from experiments.registry import (
    FOLDER,
    PRESET_NAMES,
    ExperimentFile,
    check_preset,
    load_experiment,
    preset_config,
    select,
)
from experiments.suggest import nearest
from interp.errors import ExperimentError
from interp.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from experiments.progress import ProgressLog
    from experiments.runner import Outcome, Plan
    from interp.models import LoadedModel

TINY = "tiny-random"
Style = Literal["template", "none", "newline"]
Dtype = Literal["auto", "float32", "bfloat16"]
CHOICES: dict[str, tuple[str, ...]] = {
    "preset": PRESET_NAMES,
    "style": get_args(Style),
    "dtype": get_args(Dtype),
}
DESCRIPTION = """\
Run one experiment, several ("01 05"), or "all". What is unchanged is kept; a broken run continues.

With one experiment, each of its settings is a flag too: see "interp run 05 --help".
Results go to results/<preset>/<model>/NN_name. Prompts of your own add their file name to <model>;
other settings than the preset's go to results/custom/<preset>/<model>.
"""


@dataclass(frozen=True)
class RunOptions:
    """Run experiments."""

    model: str | None = None
    """A registered name (interp models), a hub id, a folder or a .gguf file. Default:
    qwen2.5-coder-0.5b, and tiny-random for the smoke preset."""
    preset: Literal["smoke", "quick", "full"] = "quick"
    """smoke: random weights, seconds. quick: minutes. full: all prompts, all layers."""
    positive: Path | None = None
    """Prompts that show the behaviour, instead of the registered: .jsonl, .json, .csv or .txt."""
    negative: Path | None = None
    """Prompts that do not show it; goes with --positive."""
    field: str | None = None
    """Name of the text field in those files, if it is not instruction, prompt or text."""
    style: Style = "template"
    """How a prompt is put to the model: its chat template, as it is, or with a newline after it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Dtype = "auto"
    """auto is bfloat16 where the processor multiplies it natively, else float32. Activations are
    captured in float32 either way."""
    out: Path | None = None
    """Results folder instead of `results`."""
    force: bool = False
    """Measure again even if nothing has changed."""


def run(words: Sequence[str], folder: Path = FOLDER) -> int:
    """Parse, run, and return the exit code: 0, or 2 if an experiment failed."""
    from experiments.progress import progress_log

    names, flags = split_names(words)
    check_choices({name: flag_value(flags, f"--{name}") for name in CHOICES})
    files = select(names, folder)
    options, config = parse_options(files, flags)
    check_options(options, files)
    with progress_log() as progress:
        outcomes = run_files(files, options, config, progress)
    return exit_code(outcomes)


def run_files(
    files: Sequence[ExperimentFile],
    options: RunOptions,
    config: ExperimentConfig,
    progress: ProgressLog,
    loaded: LoadedModel | None = None,
) -> list[Outcome]:
    """Run as the options say, on `loaded` if that is given; `options.model` then names it."""
    from experiments.bench import ModelBench, load_data
    from experiments.runner import run_plans
    from interp.models import identity

    root = results_root(options.out)
    check_out(root)
    name = options.model or default_model(options.preset)
    sha256 = identity(name) if loaded is None else loaded.sha256
    bench = ModelBench(
        model=name,
        sha256=sha256,
        source=load_data(options.positive, options.negative, options.field),
        preset=options.preset,
        style=options.style,
        dtype=options.dtype,
        device=options.device,
        progress=progress,
        loaded=loaded,
    )
    label = model_label(name, lambda _: sha256, options.positive, TINY)
    plans = make_plans(files, options, config, root, label)
    return run_plans(plans, bench, force=options.force, say=progress.say)


def default_model(preset: str) -> str:
    """The model of a preset when none is named."""
    return TINY if preset == "smoke" else DEFAULT_MODEL


def check_out(root: Path) -> None:
    """Raise ExperimentError at once, before any download, if results cannot be written."""
    from experiments.saving import check_writable

    check_writable(root)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0, or an ExperimentError that names the experiments that failed."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if not failed:
        return 0
    if len(failed) == 1 and len(outcomes) == 1:
        raise ExperimentError(failed[0].error)
    reasons = "; ".join(f"{outcome.name}: {outcome.error}" for outcome in failed)
    raise ExperimentError(f"{len(failed)} of {len(outcomes)} experiments failed. {reasons}")


def split_names(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Experiments (words that are no flag and no flag's value) and the flags with their values."""
    names: list[str] = []
    flags: list[str] = []
    takes_value = False
    for word in words:
        if word.startswith("--") or word == "-h":
            flags.append(word)
            takes_value = "=" not in word and word not in ("--force", "--no-force", "--help", "-h")
        elif takes_value:
            flags.append(word)
            takes_value = False
        else:
            names.append(word)
    return names, flags


def flag_value(flags: Sequence[str], flag: str) -> str | None:
    """Value of `--flag value` or `--flag=value`, None if it is not given."""
    for i, word in enumerate(flags):
        if word == flag and i + 1 < len(flags):
            return flags[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def check_choices(given: Mapping[str, str | None]) -> None:
    """Raise ExperimentError, naming the nearest, for an unknown preset, style or dtype."""
    for name, value in given.items():
        if value is not None and value not in CHOICES[name]:
            raise ExperimentError(f"Unknown {name} '{value}'{nearest(value, CHOICES[name])}")


def parse_options(
    files: Sequence[ExperimentFile], flags: Sequence[str]
) -> tuple[RunOptions, ExperimentConfig]:
    """The options, and the settings: all of one experiment's, or those that every one has."""
    preset = flag_value(flags, "--preset") or "quick"
    check_preset(preset)
    if len(files) == 1:
        default = preset_config(load_experiment(files[0].number, files[0].path.parent), preset)
        about = f"{files[0].name}: {title(default)}\n\n{files[0].claim}\n\n{DESCRIPTION}"
    else:
        default, about = ExperimentConfig(), DESCRIPTION
    program = f"run {files[0].number if len(files) == 1 else 'EXPERIMENTS'}"
    both = parse(_combined(default), program, flags, description=about)
    shared = {f.name: getattr(both, f.name) for f in dataclasses.fields(RunOptions)}
    return RunOptions(**shared), both.settings


def _combined(default: ExperimentConfig) -> type:
    """RunOptions with the settings of an experiment, whose flags carry no prefix."""
    import tyro

    annotation: Any = Annotated[type(default), tyro.conf.OmitArgPrefixes]
    field = dataclasses.field(default=default)
    return dataclasses.make_dataclass(
        "Run", [("settings", annotation, field)], bases=(RunOptions,), frozen=True
    )


def check_options(options: RunOptions, files: Sequence[ExperimentFile]) -> None:
    """Raise ExperimentError if there is no experiment, or one file of prompts without the other."""
    if not files:
        raise ExperimentError(
            'Which experiment? Give one or more numbers, or "all"; "interp list" shows them.'
        )
    if (options.positive is None) != (options.negative is None):
        raise ExperimentError("Give both --positive FILE and --negative FILE, or neither.")


def with_seed(preset: ExperimentConfig, shared: ExperimentConfig) -> ExperimentConfig:
    """A preset with the seed that was given for several experiments; its own if none was."""
    if shared == ExperimentConfig():
        return preset
    return dataclasses.replace(preset, seed=shared.seed)


def make_plans(
    files: Sequence[ExperimentFile],
    options: RunOptions,
    config: ExperimentConfig,
    root: Path,
    label: str,
) -> list[Plan]:
    """One plan per experiment. Changed settings get a folder apart, unless --out names one."""
    from experiments.runner import Plan

    plans = []
    for file in files:
        module = load_experiment(file.number, file.path.parent)
        preset = preset_config(module, options.preset)
        chosen = config if len(files) == 1 else with_seed(preset, config)
        own = chosen != preset and options.out is None
        folder = (root / CUSTOM if own else root) / options.preset / label / file.name
        plans.append(Plan(file, module, chosen, options.preset, folder))
    return plans
