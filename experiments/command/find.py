"""`interp find`: a direction for a behaviour, and a page that says what it does."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from experiments.command.options import parse
from experiments.command.run import combined, flag_value
from experiments.command.subject import REPORT
from experiments.finding import protocol
from experiments.harness.durations import announce
from experiments.harness.paths import TINY, default_model, model_label, results_root
from experiments.harness.registry import FOLDER, Experiment, check_preset
from experiments.harness.run import (
    Dtype,
    Folder,
    Name,
    Style,
    behaviour_label,
    exit_code,
    shown_as,
)
from experiments.harness.saving import check_writable
from experiments.lab.progress import ProgressLog, progress_log
from interp.assets.files import replace_file
from interp.errors import ExperimentError

if TYPE_CHECKING:
    from experiments.lab.results import Result

EXPERIMENT = Experiment("find", "finding", FOLDER / "finding")


@dataclass(frozen=True)
class FindOptions:
    """Find a direction for a behaviour."""

    model: Name = None
    """A registered name (interp models), a hub id, a folder or a .gguf file."""
    preset: Literal["smoke", "quick", "full"] = "quick"
    """smoke: random weights, seconds. quick: minutes. full: all layers, more prompts."""
    style: Annotated[Style | None, shown_as("STYLE")] = None
    """How a prompt is put to the model: template, none or newline. The behaviour says which."""
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "auto"
    dtype: Dtype = "auto"
    out: Folder = None
    """Folder of the direction; results/found/MODEL/BEHAVIOUR if not given. An earlier result of
    find is replaced, nothing else is."""
    force: bool = False
    """Measure again even if nothing has changed."""


IMAGE = re.compile(r"!\[\w+\]\((.+)\)")  # of the page, which a terminal cannot show

DESCRIPTION = f"""\
{protocol.__doc__}
A behaviour is one of: refusal, sentiment, register, persona, syntax, truth, sycophancy; or a file:

    positive: polite.txt        # prompts that show it, one per line; also .jsonl, .json, .csv
    negative: rude.txt          # prompts that do not
    frame: "{{prompt}} That was"  # optional: what the model is given
    shows: [" kind", " polite"] # how an answer begins that shows it
    others: [" rude"]           # optional: against these, not against everything else
    style: none                 # optional: template (default), none or newline

In place of shows it may say `choice: true`: the prompts of a pair then end in their answers.
"""


def find(words: Sequence[str]) -> int:
    """Parse, find, print the page; the exit code is 0 whether or not there is a direction."""
    preset = flag_value(words, "--preset") or "quick"
    check_preset(preset)
    default = EXPERIMENT.preset(preset)
    parsed = parse(combined(default, FindOptions), "find", words, description=DESCRIPTION)
    shared = {f.name: getattr(parsed, f.name) for f in dataclasses.fields(FindOptions)}
    with progress_log() as progress:
        folder = measure(FindOptions(**shared), parsed.settings, progress)
    page = (folder / REPORT).read_text(encoding="utf-8")
    sys.stdout.write(IMAGE.sub(lambda image: f"Figure: {folder / image[1]}", page))
    return 0


def measure(options: FindOptions, config: protocol.Config, progress: ProgressLog) -> Path:
    """Find a direction unless an unchanged result is saved, write the page, return the folder."""
    from experiments.harness.labs import ModelBench, on_its_own_split
    from experiments.harness.runner import Plan, run_plans
    from experiments.harness.store import load_result
    from interp.assets.folders import identity
    from interp.behaviours import behaviour

    source = on_its_own_split(behaviour(config.behaviour))
    name = options.model or default_model(options.preset)
    sha256 = identity(name)
    label = model_label(name, lambda _: sha256, tiny=TINY)
    folder = options.out or results_root() / "found" / label / behaviour_label(config.behaviour)
    check_free(folder)
    check_writable(folder.parent)
    plan = Plan(EXPERIMENT, config, options.preset, folder)
    announce([plan], name, [], progress.say)
    bench = ModelBench(
        model=name, sha256=sha256, source=source, preset=options.preset,
        style=options.style or source.behaviour.style, dtype=options.dtype, device=options.device,
        progress=progress,
    )  # fmt: skip
    exit_code(run_plans([plan], bench, force=options.force, say=progress.say))
    page = report(load_result(folder), folder, name)
    replace_file(folder / REPORT, lambda path: path.write_text(page, encoding="utf-8"))
    return folder


def check_free(folder: Path) -> None:
    """Raise ExperimentError where a result would replace anything but one of `interp find`."""
    from experiments.harness.store import saved

    is_found = saved(folder).get("experiment") == EXPERIMENT.name
    is_empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_found and not is_empty:
        raise ExperimentError(
            f"{folder} holds other things than a result of `interp find`, which would take their "
            "place. Give another --out."
        )


def report(result: Result, folder: Path, model: str) -> str:
    """The page: what was found, the numbers, the figures, and what can be done with it."""
    assert result.run is not None  # it was saved
    rows = "\n".join(f"| {e.name} | {e} |" for e in result.estimates)
    lines = [
        f"# {result.run.config['behaviour']} in {result.run.model['name']}",
        result.observation,
    ]
    lines += [f"| | value, 95% interval, null |\n|---|---|\n{rows}"]
    lines += [f"![{name}]({name}.png)" for name in ("candidates", "doses")]
    if protocol.found(result.by_name()):
        path = folder / "direction.safetensors"
        style = result.run.style
        asked = '["..."]' if style == "template" else f'interp.tokenise(model, ["..."], {style!r})'
        lines += [
            "From a shell:\n\n```\n"
            f'interp try {folder} --model {model} --prompt "..." --scale 1\n'
            f"interp export {folder} --model {model} --to gguf --out {folder}.gguf\n```",
            "In Python:\n\n```python\nfrom pathlib import Path\n\nimport interp\n\n"
            f"(direction,) = interp.load_directions(Path({str(path)!r}))\n"
            f"model = interp.load({model!r})\n"
            f"print(interp.answers(model, {asked}, [direction.ablate()]))\n```",
        ]
    return "\n\n".join(lines) + "\n"
