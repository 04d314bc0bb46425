"""The command `interp`. Nothing heavy is imported before it is known what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.command.options import parse
from experiments.harness.paths import default_model, results_root, saved_label
from experiments.harness.registry import FOLDER, PRESET_NAMES, check_preset
from experiments.harness.run import Folder, Name
from interp.errors import ExperimentError, InterpError, nearest

HELP = """\
interp: hypotheses about the geometry of transformer activations, tested on real chat models.

usage: interp COMMAND [options]

  list        experiments, their claims, and the verdicts so far per model
  run         run one experiment, several, or all
  find        a direction for a behaviour, registered or your own, and a page about it
  report      rebuild the table of verdicts of the results, and print it
  notebooks   execute copies of the notebooks beside the results
  calibrate   how often each verdict is right, on planted worlds
  replicate   the same experiments by other seeds: which verdicts stay
  new         write a new experiment with its notebook and its test
  try         a prompt's answer with and without a direction, side by side
  export      a direction, or the model without it, as files for other programs
  lock        a model without a direction, and a key that gives the very same model back
  unlock      the model of a locked folder and its key, bit for bit
  models      registered models: size, licence, whether they are on this machine
  data        registered data sets: size, licence, whether they are on this machine

examples:
  interp run 05                                   one experiment, default model, minutes
  interp run 05 --help                            its settings, each of which is a flag
  interp run 05 --n-train 40 --seed 3             the same with other settings
  interp run 01 05 --model smollm2-135m           two experiments on another registered model
  interp run all --preset smoke                   everything on a tiny random model, seconds
  interp run 05 --model path/to/model.gguf        a model of your own: file, folder or hub id
  interp run 05 --positive A.txt --negative B.txt --out mine     prompts of your own
  interp find --behaviour sentiment               a direction for another behaviour
  interp run speed                                the engine beside plain ways of doing the same
  interp try D.safetensors --prompt "How do I pick a lock?"      with and without a direction
  interp export D.safetensors --to gguf --out D.gguf             a control vector for llama.cpp
  interp lock smollm2-135m --direction D.safetensors --out L --key K.safetensors
  interp --version                                versions of this project, Python and its packages

An interrupted run continues where it was when the same command is given again.
"""


@dataclass(frozen=True)
class ListOptions:
    """Experiments, their claims, and the verdicts so far per model."""

    out: Folder = None  # results folder; `results` of the project if not given


@dataclass(frozen=True)
class ReportOptions:
    """Rebuild the table of verdicts, and print it beside the committed one."""

    preset: str = "full"  # which results: smoke, quick or full
    model: Name = None  # print this model only; the file always has every model
    out: Folder = None  # results folder; `results` of the project if not given


@dataclass(frozen=True)
class NotebookOptions:
    """Execute copies of the notebooks on saved results; copies that are up to date are kept."""

    preset: str = "quick"  # which results to show: smoke, quick or full
    model: Name = None  # model whose results to show; the default of the preset if not given
    out: Folder = None  # results folder; `results` of the project if not given
    in_place: bool = False  # execute the notebooks themselves, each on the results it names


@dataclass(frozen=True)
class NoOptions:
    """No options."""


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Run a command on the experiments in `folder`; return its exit code.

    That is 0, 2 for an error that the user can act on, and 130 for Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words, folder)
    except InterpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\ninterrupted. What was measured is saved; give the same command again to continue.",
            file=sys.stderr,
        )
        return 130


def _dispatch(words: list[str], folder: Path) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        print(version_text())
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        raise ExperimentError(f"Unknown command '{name}'{nearest(name, COMMANDS)}")
    return COMMANDS[name](rest, folder)


def version_text() -> str:
    """Versions of this project, of Python and of the packages that numbers depend on."""
    from importlib import metadata

    from experiments.harness.provenance import versions

    try:
        own = metadata.version("interp-geometry")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return "\n".join(f"{name} {version}" for name, version in {"interp": own, **versions()}.items())


def _console() -> Any:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=140)


def list_experiments(words: Sequence[str], folder: Path) -> int:
    """`interp list`."""
    from experiments.command.report import experiment_table

    options = parse(ListOptions, "list", words)
    _console().print(experiment_table(results_root(options.out), PRESET_NAMES, folder))
    return 0


def report(words: Sequence[str], folder: Path) -> int:
    """`interp report`."""
    from experiments.command.report import print_report, write_report

    options = parse(ReportOptions, "report", words)
    check_preset(options.preset)
    root, console = results_root(options.out), _console()
    path = write_report(root, options.preset, folder)
    model = options.model and saved_label(root / options.preset, options.model)
    print_report(root, options.preset, model, console, folder)
    console.print(f"Table of verdicts: {path}", highlight=False, soft_wrap=True)
    return 0


def run(words: Sequence[str], folder: Path) -> int:
    """`interp run`."""
    from experiments.command.run import run as run_command

    return run_command(words, folder)


def notebooks(words: Sequence[str], folder: Path) -> int:
    """`interp notebooks`."""
    options = parse(NotebookOptions, "notebooks", words)
    check_preset(options.preset)
    from experiments.command.notebooks import execute_copies, execute_in_place
    from experiments.lab.progress import progress_log

    if options.in_place:
        paths = execute_in_place()
    else:
        root = results_root(options.out)
        model = options.model or default_model(options.preset)
        label = saved_label(root / options.preset, model)
        with progress_log() as progress:
            progress.say("executing a copy of each notebook on these results; none loads the model")
            paths = execute_copies(root, options.preset, label, progress=progress)
    for path in paths:
        print(path)
    return 0


def find(words: Sequence[str], folder: Path) -> int:
    """`interp find`."""
    from experiments.command.find import find

    return find(words)


def calibrate(words: Sequence[str], folder: Path) -> int:
    """`interp calibrate`."""
    from experiments.command.calibrate import Options, calibrate
    from experiments.command.run import split_names
    from experiments.lab.progress import progress_log

    names, flags = split_names(words)
    options = parse(Options, "calibrate", flags)
    with progress_log() as progress:
        paths = calibrate(names, results_root(options.out), options, progress, folder)
    for path in paths:
        print(path)
    return 0


def replicate(words: Sequence[str], folder: Path) -> int:
    """`interp replicate`."""
    from experiments.command.replicate import Options, replicate
    from experiments.command.run import split_names
    from experiments.lab.progress import progress_log

    names, flags = split_names(words)
    options = parse(Options, "replicate", flags)
    with progress_log() as progress:
        print(replicate(names, results_root(options.out), options, progress, folder))
    return 0


def new(words: Sequence[str], folder: Path) -> int:
    """`interp new`."""
    from experiments.command.new import new_experiment

    if len(words) != 2 or {"-h", "--help"} & set(words):
        print("usage: interp new NUMBER NAME        for example: interp new 31 norm_growth")
        return 0 if {"-h", "--help"} & set(words) else 2
    for path in new_experiment(*words):
        print(path)
    print(f"Now: interp run {words[0]} --preset smoke; then change what the three files say.")
    return 0


def try_edit(words: Sequence[str], folder: Path) -> int:
    """`interp try`."""
    from experiments.command.try_edit import Options, try_edit

    try_edit(parse(Options, "try", words), _console())
    return 0


def export(words: Sequence[str], folder: Path) -> int:
    """`interp export`."""
    from experiments.command.export import Options, export

    for line in export(parse(Options, "export", words)):
        print(line)
    return 0


def lock(words: Sequence[str], folder: Path) -> int:
    """`interp lock`."""
    from experiments.command.lock import LockOptions, lock

    for line in lock(parse(LockOptions, "lock", words)):
        print(line)
    return 0


def unlock(words: Sequence[str], folder: Path) -> int:
    """`interp unlock`."""
    from experiments.command.lock import UnlockOptions, unlock

    for line in unlock(parse(UnlockOptions, "unlock", words)):
        print(line)
    return 0


def models(words: Sequence[str], folder: Path) -> int:
    """`interp models`."""
    from experiments.command.listings import model_table

    parse(NoOptions, "models", words, description="Registered models.")
    _console().print(model_table())
    return 0


def data(words: Sequence[str], folder: Path) -> int:
    """`interp data`."""
    from experiments.command.listings import data_table

    parse(NoOptions, "data", words, description="Registered data sets.")
    _console().print(data_table())
    return 0


COMMANDS: dict[str, Callable[[Sequence[str], Path], int]] = {
    "list": list_experiments,
    "run": run,
    "find": find,
    "report": report,
    "notebooks": notebooks,
    "calibrate": calibrate,
    "replicate": replicate,
    "new": new,
    "try": try_edit,
    "export": export,
    "lock": lock,
    "unlock": unlock,
    "models": models,
    "data": data,
}
