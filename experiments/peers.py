"""Other libraries on the same work, each installed into a throw-away environment for the run.

Their versions of torch and transformers are this project's, so that the libraries are compared and
not what they stand on; everything else is as each peer wants it.
"""

import json
import os
import subprocess
import sys
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments import peers_script
from experiments import speed_baselines as plain_ways
from experiments.source import ROOT
from experiments.speed_rows import ENGINE, SPEED_UP, Row, Stage
from interp.capture import capture_moments
from interp.errors import ExperimentError
from interp.forward import readout
from interp.prompts import render
from interp.sites import Site

SHARED = ("torch", "transformers")
WORKS = {
    "means": "residual means: all layers, last token",
    "ablate": "one score: ablate at every layer, last-token logits",
}


def peer_rows(stage: Stage) -> list[Row]:
    """Two rows per peer; NaN where it could not be installed or run."""
    model, tokens = stage.model, stage.harmful
    if plain_ways.model_folder(model) is None:
        raise ExperimentError("Peers load a model from a folder; random weights have none.")
    last = Site(model.n_layers - 1, "post")
    sites = [*(site for site in stage.sites if site.stream == "pre"), last]
    ours = {
        "means": stage.timed(
            "peers/means", lambda: {ENGINE: [lambda: capture_moments(model, tokens, sites)]}
        ),
        "ablate": stage.timed(
            "peers/ablate", lambda: {ENGINE: [lambda: readout(model, tokens, stage.ablation)]}
        ),
    }
    rows = []
    for package in stage.lab.progress(peers_script.PEERS, "peers"):
        theirs = stage.lab.cell(f"speed/peers/{package}", lambda p=package: timed_peer(stage, p))
        for key, work in WORKS.items():
            engine, peer = ours[key][ENGINE], theirs.get(key, nan)
            rows.append(Row("", work, theirs["name"], engine, peer, peer / engine, SPEED_UP))
    return rows


def timed_peer(stage: Stage, package: str) -> dict[str, Any]:
    """Seconds by kind of work, with the peer's name and version, or with why there are none."""
    model = stage.model
    batch = plain_ways.plain_batch(model, stage.harmful)
    job = {
        "peer": package,
        "folder": str(plain_ways.model_folder(model)),
        "dtype": model.info.dtype,
        "texts": [render(model, text, stage.lab.style) for text in stage.texts[0]],
        "ids": batch.ids.tolist(),
        "mask": batch.mask.tolist(),
        "unit": stage.direction.unit.tolist(),
        "repeats": stage.config.repeats,
    }
    with TemporaryDirectory(prefix="peer-") as folder:
        try:
            python = install(package, Path(folder))
            version = shell([python, "-m", "pip", "show", package], folder)
            found = json.loads(run_script(python, job, folder))
        except subprocess.CalledProcessError as error:
            return {"name": f"{package}, not measured: {reason(error)}"}
    return {"name": f"{package} {version_of(version)}", **found}


def install(package: str, folder: Path) -> str:
    """A new environment with the package and the shared versions; returns its interpreter."""
    constraints = folder / "constraints.txt"
    constraints.write_text(shared_versions((ROOT / "constraints.txt").read_text()))
    shell([sys.executable, "-m", "venv", "environment"], str(folder))
    python = str(folder / "environment" / "bin" / "python")
    options = ["--quiet", "--disable-pip-version-check", "-c", str(constraints)]
    shell([python, "-m", "pip", "install", *options, *SHARED, package], str(folder))
    return python


def shared_versions(constraints: str) -> str:
    """The lines of a constraints file that name what a peer shares with this project."""
    lines = constraints.splitlines()
    return "\n".join(line for line in lines if line.partition("==")[0] in SHARED) + "\n"


def run_script(python: str, job: dict[str, Any], folder: str) -> str:
    """Last line that the script writes. `-P` keeps this project's modules off its path."""
    output = shell([python, "-P", str(peers_script.__file__)], folder, json.dumps(job))
    return output.splitlines()[-1]


def shell(command: list[str], folder: str, text: str = "") -> str:
    """Standard output of a command run in `folder`, offline as far as models are concerned."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, cwd=folder, env=environment, check=True
    )
    return done.stdout


def version_of(shown: str) -> str:
    """The version in what `pip show` prints."""
    return next(x.split()[1] for x in shown.splitlines() if x.startswith("Version:"))


def reason(error: subprocess.CalledProcessError) -> str:
    """The last line that a failed command wrote, cut to a line's length."""
    lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
    return lines[-1].strip()[:100] if lines else f"exit status {error.returncode}"
