"""What the notebooks call, and what executes them.

A notebook shows one saved result: `result = show("05")`, then `figure(result, "name")` per figure.
When copies are executed beside other results, environment variables say what to show instead:
INTERP_MODEL, INTERP_PRESET, INTERP_STYLE and INTERP_RESULTS.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.harness.paths import RESULTS_VARIABLE
from experiments.harness.registry import FOLDER, find_experiment
from experiments.harness.run import Request, request, style_of
from experiments.lab.config import changed_note
from experiments.lab.results import Result, words_for
from interp.errors import ExperimentError, nearest

if TYPE_CHECKING:
    from IPython.display import Markdown
    from matplotlib.figure import Figure

    from experiments.harness.run import Model

MODEL_VARIABLE, PRESET_VARIABLE = "INTERP_MODEL", "INTERP_PRESET"
STYLE_VARIABLE = "INTERP_STYLE"
SHOWN_FIRST = ("full", "quick")  # presets looked for when none is named; the last is run
DURATIONS = {
    "smoke": "seconds",
    "quick": "one to five minutes at 0.5B parameters",
    "full": "ten minutes to two hours at 0.5B parameters",
}


def show(
    number: str,
    model: Model | None = None,
    preset: str | None = None,
    style: str | None = None,
    *,
    force: bool = False,
    progress: bool = True,
    **options: Any,
) -> Result:
    """The saved result of an experiment, also if the code has changed since; else it is run.

    Everything is as for `experiments.run`, where the options are listed. Without a preset the full
    result is shown if it is saved, else the quick one, and quick is run if neither is: full is only
    run when it is asked for. Without a style, that of the saved result will do, and `template` is
    run. A folder name under results/<preset> does as a model, too. The environment variables above
    win over the arguments, so that a copy of a notebook can be executed for another model.
    """
    model = os.environ.get(MODEL_VARIABLE, model)
    preset = os.environ.get(PRESET_VARIABLE, preset)
    style = os.environ.get(STYLE_VARIABLE, style)
    if RESULTS_VARIABLE in os.environ:
        options["out"] = None
    presets = SHOWN_FIRST if preset is None else (preset,)
    asked = [request(number, model, one, style, **options) for one in presets]
    for one in asked:
        found = None if force else one.saved(any_style=style is None)
        if found is not None:
            _say_shown(found)
            return found
    _say_run(asked)
    return asked[-1].run(force, progress)


def _say_shown(result: Result) -> None:
    run = _run(result)
    what = f"the saved {run.preset} result of {run.model['name']}, style {run.style}"
    print(f"{run.experiment}: {what}, which took {run.seconds:.0f} s to measure")  # noqa: T201


def _say_run(asked: Sequence[Request]) -> None:
    """What is run, and what might be asked for instead."""
    options = asked[-1].options
    others = [
        f'; preset="{one.options.preset}" takes {DURATIONS[one.options.preset]}'
        for one in asked[:-1]
    ]
    print(  # noqa: T201
        f"{asked[-1].experiment.name}: running {options.preset} on {options.model}, style "
        f"{style_of(options)}, which takes {DURATIONS[options.preset]}{''.join(others)}",
        flush=True,
    )


def about(result: Result) -> Markdown:
    """Every claim with its criterion and verdict, and what it was measured on."""
    from IPython.display import Markdown

    run = _run(result)
    note = (
        "\n\n**Random weights: this shows that the code runs and is no finding.**"
        if run.mechanics
        else ""
    )
    where = f"{run.model['name']}, `{run.preset}` preset{changed_note(run.changed)}"
    where = "; ".join(filter(None, (where, words_for(run))))
    claims = [
        f"> {claim['notes']}\n\n**{claim['key']}.** {claim['statement']} "
        f"**{result.verdicts[claim['key']].capitalize()}.**\n\n<details><summary>What decides, "
        f"written before the run</summary>\n\n{claim['criterion']}\n\n</details>"
        for claim in run.claims
    ]
    return Markdown("\n\n".join([f"Measured on {where}.{note}", *claims]))


def estimates(result: Result, *prefixes: str) -> pd.DataFrame:
    """The estimates as a table; with prefixes, those whose names start with one of them."""
    table = result.frame()
    if prefixes:
        table = table[table["name"].str.startswith(prefixes)]
    if table.empty:
        raise ExperimentError(f"No estimate of this result starts with {', '.join(prefixes)}.")
    return table.set_index("name").dropna(axis=1, how="all").round(4)


def figure(result: Result, name: str, folder: Path = FOLDER) -> Figure:
    """One figure of a result, drawn from the table of the same name."""
    figures = _figures(result, folder)
    if name not in figures:
        raise ExperimentError(f"No figure '{name}' in this result{nearest(name, figures)}")
    return figures[name]


@lru_cache(maxsize=1)
def _figures(result: Result, folder: Path) -> dict[str, Figure]:
    """Every figure of the result, drawn once for all cells of a notebook."""
    return find_experiment(_run(result).experiment, folder).plot(result)


def observation(result: Result) -> Markdown:
    """What was found, in one paragraph that quotes the numbers of this result."""
    from IPython.display import Markdown

    return Markdown(result.observation)


def _run(result: Result) -> Any:
    if result.run is None:
        raise ExperimentError("This result was never saved; use show() to get a saved one.")
    return result.run
