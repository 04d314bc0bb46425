"""`interp run`: options, and the settings of one experiment, as flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.command.options import flags_of, parse
from experiments.harness.registry import FOLDER, Experiment, check_preset, select
from experiments.harness.run import (
    CHOICES,
    RunOptions,
    Settings,
    SharedSettings,
    check_choices,
    check_options,
    exit_code,
    run_experiments,
)
from experiments.lab.config import title
from experiments.lab.progress import progress_log
from interp.errors import ExperimentError

DESCRIPTION = """\
Run one experiment, several ("01 05"), or "all". What is unchanged is kept; a broken run continues.

Experiments come first. With one, each of its settings is a flag too: "interp run 05 --help" shows
them, "interp run 05 --n-train 40 --seed 3" gives some. A setting that holds several values takes
all up to the next flag.

Results go to results/<preset>/<model>/NN_name. Prompts of your own add the names of their files to
<model>, as in <model>-A-B; other settings than the preset's go to results/custom/<preset>/<model>.
"""


HELP_FLAGS = frozenset(("--help", "-h"))
SWITCHES = HELP_FLAGS | {"--force", "--no-force"}
ONE_VALUE = frozenset((*flags_of(RunOptions()), *flags_of(SharedSettings()))) - SWITCHES


def run(words: Sequence[str], folder: Path = FOLDER) -> int:
    """Parse, run, and return the exit code: 0, or 2 if an experiment failed."""
    names, flags = split_names(words)
    check_choices({name: flag_value(flags, f"--{name}") for name in CHOICES})
    experiments = select(names, folder)
    if not experiments and not HELP_FLAGS.intersection(flags):
        raise ExperimentError(
            "Which experiment? Name it before its settings, as in `interp run 05 --seed 1`, or say "
            "all; `interp list` shows what there is."
        )
    options, config = parse_options(experiments, flags)
    check_options(options)
    with progress_log() as progress:
        return exit_code(run_experiments(experiments, options, config, progress))


def split_names(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Experiments, and the flags with their values.

    A flag of the run takes one value, or none; a setting may have several, so it takes every word
    up to the next flag. The words that are left are experiments.
    """
    names: list[str] = []
    flags: list[str] = []
    room: float = 0  # words that the last flag may still take
    for word in words:
        if word.startswith("--") or word in HELP_FLAGS:
            flags.append(word)
            room = values_of(word)
        elif room:
            flags.append(word)
            room -= 1
        else:
            names.append(word)
    return names, flags


def values_of(flag: str) -> float:
    """How many words may follow a flag as its values."""
    if "=" in flag or flag in SWITCHES:
        return 0
    return 1 if flag in ONE_VALUE else inf


def flag_value(flags: Sequence[str], flag: str) -> str | None:
    """Value of `--flag value` or `--flag=value`, the last one; None if it is not given."""
    for i in reversed(range(len(flags))):
        if flags[i] == flag and i + 1 < len(flags):
            return flags[i + 1]
        if flags[i].startswith(f"{flag}="):
            return flags[i].partition("=")[2]
    return None


def parse_options(
    experiments: Sequence[Experiment], flags: Sequence[str]
) -> tuple[RunOptions, Settings]:
    """The options, and the settings: all of one experiment's, or those that every one has."""
    preset = flag_value(flags, "--preset") or "quick"
    check_preset(preset)
    if len(experiments) == 1:
        (one,) = experiments
        default = one.preset(preset)
        claims = "\n".join(f"{claim.key}: {claim.statement}" for claim in one.claims)
        about = f"{one.name}: {title(default)}\n\n{claims}\n\n{DESCRIPTION}"
        program, hint = f"run {one.number}", ""
    else:
        default, about = SharedSettings(), DESCRIPTION
        program, hint = "run EXPERIMENTS", " Other settings are options of one experiment alone."
    both = parse(combined(default), program, flags, hint, description=about)
    shared = {f.name: getattr(both, f.name) for f in dataclasses.fields(RunOptions)}
    return RunOptions(**shared), both.settings


def combined(default: Settings, options: type = RunOptions) -> type:
    """Options with the settings of an experiment, whose flags carry no prefix."""
    annotation: Any = Annotated[type(default), tyro.conf.OmitArgPrefixes]
    field = dataclasses.field(default=default)
    return dataclasses.make_dataclass(
        "Run", [("settings", annotation, field)], bases=(options,), frozen=True
    )
