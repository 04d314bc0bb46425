"""Two made-up experiments on disk: 91_norms is a single file, 92_pair a folder."""

import shutil
import sys
import textwrap
from pathlib import Path

from experiments.harness.registry import Experiment

NORMS = '''
"""A made-up experiment: mean norms of the residual stream, measured cell by cell."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.claims import Claim, decide
from experiments.lab.config import ExperimentConfig
from experiments.lab.estimate import Estimate
from experiments.lab.results import Result
from interp.sites import all_sites

CLAIMS = (
    Claim(
        key="91a",
        notes="norms grow",
        statement="Norms are positive.",
        criterion="Supported if the mean norm is above 0.5, else rejected.",
        estimates=("norm.mean",),
    ),
)


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Norms of the stream."""

    n_prompts: int = 4  # prompts that are measured


PRESETS = {"smoke": Config(n_prompts=2), "quick": Config(), "full": Config(n_prompts=6)}


def run(config, lab):
    prompts = lab.splits.train.positive[: config.n_prompts]
    sites = all_sites(lab.model.n_layers)
    norms = []
    for site in lab.progress(sites, "sites"):
        measure = lambda: lab.activations(prompts, [site]).norm(dim=-1).mean().item()
        norms.append(lab.cell(f"norm {site}", measure))
    noise = lab.cell("noise", lambda: lab.rng("noise").normal(size=3))
    table = pd.DataFrame({"depth": [site.depth for site in sites], "norm": norms})
    mean = Estimate("norm.mean", sum(norms) / len(norms), low=noise[0], high=9.0, n=len(prompts))
    estimates = (mean, Estimate("norm.absent", float("nan")))
    return Result(estimates, {"profile": table}, f"The mean norm is {mean}.")


def verdicts(estimates):
    above = estimates["norm.mean"].value > 0.5
    return {"91a": decide(above, not above)}


def plot(result):
    figure = Figure()
    figure.subplots().plot(result.tables["profile"]["depth"], result.tables["profile"]["norm"])
    return {"profile": figure}
'''

PAIR = {
    "__init__.py": "",
    "protocol.py": '''
        """Do the classes have different means?"""

        from dataclasses import dataclass

        from experiments.lab.claims import Claim, decide
        from experiments.lab.config import ExperimentConfig, Several

        CLAIMS = (
            Claim(
                key="92a",
                notes="classes part",
                statement="The means differ.",
                criterion="Supported if the distance of the means is above 0, else rejected.",
                estimates=("distance",),
            ),
            Claim(
                key="92b",
                notes="classes part",
                statement="The means differ by a million.",
                criterion="Supported if the distance of the means is above 1000000, else rejected.",
                estimates=("distance", "random"),
            ),
        )
        MINUTES = {"smoke": 0.1, "quick": 1, "full": 2}


        @dataclass(frozen=True)
        class Config(ExperimentConfig):
            """Distance of two means."""

            n_prompts: Several = 4  # of each class


        PRESETS = dict.fromkeys(("smoke", "quick", "full"), Config())


        def verdicts(estimates):
            distance = estimates["distance"].value
            return {
                "92a": decide(distance > 0, distance <= 0),
                "92b": decide(distance > 1000000, distance <= 1000000),
            }
    ''',
    "measure.py": '''
        """States of the classes, and how far random directions part them."""


        def states(lab, site, n):
            sides = lab.splits.train.positive[:n], lab.splits.train.negative[:n]
            return [lab.activations(side, [site])[:, 0, 0] for side in sides]


        def parted(direction, positive, negative):
            return float((positive.mean(0) - negative.mean(0)) @ direction.unit)
    ''',
    "run.py": '''
        """Measure the distance, and leave the direction beside the result."""

        import pandas as pd

        from experiments.lab.estimate import Estimate
        from experiments.lab.results import Result
        from interp.directions import mean_difference
        from interp.sites import Site

        from .measure import parted, states
        from .protocol import Config


        def run(config: Config, lab):
            site = Site(2, "mid")
            positive, negative = states(lab, site, config.n_prompts)
            direction = mean_difference(positive, negative, site)
            lab.save_direction("difference", direction)
            distance = lab.cell("distance", lambda: parted(direction, positive, negative))
            estimates = Estimate("distance", distance), Estimate("random", 0.0)
            return Result(estimates, {"bars": pd.DataFrame({"distance": [distance]})})
    ''',
    "figures.py": '''
        """One bar."""

        from matplotlib.figure import Figure

        from .protocol import CLAIMS

        SIZE = (4, 3)


        def plot(result):
            figure = Figure(SIZE)
            figure.subplots(subplot_kw={"title": CLAIMS[0].statement}).bar(
                [0], result.tables["bars"]["distance"]
            )
            return {"bars": figure}
    ''',
}  # fmt: skip


def write_experiments(folder: Path) -> Path:
    """A new folder with both experiments."""
    sources = {"91_norms.py": NORMS, **{f"92_pair/{name}": text for name, text in PAIR.items()}}
    for name, text in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    return folder


def rewrite(experiment: Experiment, old: str, new: str, part: str = "") -> None:
    """Put `new` for `old` in a file of the experiment; who finds it from now on sees the new code.

    As a process started afterwards would: nothing that is imported already is kept, and no bytecode
    either, which may be of the same second.
    """
    path = experiment.path / part if part else experiment.path
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(experiment.path):
            del sys.modules[name]
