"""Other libraries on the same work, each installed into a throw-away environment for the run.

Their versions of torch and transformers are this project's, so that the libraries are compared and
not what they stand on; everything else is as each peer wants it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.harness.source import ROOT
from experiments.speed import baselines as plain_ways
from experiments.speed import peers_script
from experiments.speed.protocol import SPEED_UP
from experiments.speed.timing import Pass, alternate
from experiments.speed.works import ENGINE, Row, Stage
from interp.activations import capture_moments
from interp.errors import ExperimentError
from interp.predict import readout
from interp.prompts import render
from interp.sites import Site

SHARED = ("torch", "transformers")
WORKS = {
    "means": "residual means: all layers, last token",
    "ablate": "one score: ablate at every layer, last-token logits",
}


def peer_rows(stage: Stage) -> list[Row]:
    """Two rows per peer; NaN where it could not be installed or run."""
    if plain_ways.model_folder(stage.model) is None:
        raise ExperimentError("Peers load a model from a folder; random weights have none.")
    rows = []
    for package in stage.lab.progress(peers_script.PEERS, "peers"):
        found = stage.lab.cell(f"speed/peers/{package}", lambda p=package: timed_peer(stage, p))
        for key, work in WORKS.items():
            engine, peer = found.get(key, (nan, nan))
            rows.append(Row("", work, found["name"], engine, peer, peer / engine, SPEED_UP))
    return rows


def timed_peer(stage: Stage, package: str) -> dict[str, Any]:
    """Seconds of the engine and of the peer per work, and the peer's name with its version.

    A peer that could not be installed or run has no seconds, and a name that says why.
    """
    with TemporaryDirectory(prefix="peer-") as folder:
        try:
            python = install(package, Path(folder))
            version = version_of(shell([python, "-m", "pip", "show", package], folder))
            with running(python, job_of(stage, package), folder) as ask:
                seconds = {key: take_turns(stage, key, ask) for key in WORKS}
        except subprocess.CalledProcessError as error:
            return {"name": f"{package}, not measured: {reason(error)}"}
    return {"name": f"{package} {version}", **seconds}


def job_of(stage: Stage, package: str) -> dict[str, Any]:
    """What the script needs to know; see there."""
    model = stage.model
    batch = plain_ways.plain_batch(model, stage.harmful)
    return {
        "peer": package,
        "folder": str(plain_ways.model_folder(model)),
        "dtype": model.info.dtype,
        "texts": [render(model, text, stage.lab.style) for text in stage.texts[0]],
        "ids": batch.ids.tolist(),
        "mask": batch.mask.tolist(),
        "unit": stage.direction.unit.tolist(),
    }


def take_turns(stage: Stage, key: str, ask: Callable[[str], None]) -> tuple[float, float]:
    """Seconds of the engine and of the peer for one work."""
    model, tokens = stage.model, stage.harmful
    last = Site(model.n_layers - 1, "post")
    sites = [*(site for site in stage.sites if site.stream == "pre"), last]
    engine: dict[str, Pass] = {
        "means": lambda: capture_moments(model, tokens, sites=sites),
        "ablate": lambda: readout(model, tokens, stage.ablation),
    }
    found = alternate({ENGINE: [engine[key]], "peer": [lambda: ask(key)]}, stage.config.repeats)
    return found[ENGINE], found["peer"]


@contextmanager
def running(python: str, job: dict[str, Any], folder: str) -> Iterator[Callable[[str], None]]:
    """The script at work on a job; gives a function that has it run one of the works.

    Raises CalledProcessError, with what the script wrote last, when it ends instead of answering.
    `-P` keeps this project's modules off its path.
    """
    command = [python, "-P", str(peers_script.__file__)]
    errors = Path(folder) / "errors.txt"
    with (
        errors.open("w") as written,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
            cwd=folder,
            env=offline(),
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None  # pipes, as asked for
        questions, answers = process.stdin, process.stdout

        def ask(line: str) -> None:
            with suppress(BrokenPipeError):  # the script has ended; its answers say so below
                questions.write(f"{line}\n")
                questions.flush()
            if not any(answer.strip() == peers_script.DONE for answer in answers):
                status = process.wait()
                raise subprocess.CalledProcessError(status, command, None, errors.read_text())

        try:
            with suppress(BrokenPipeError):
                questions.write(f"{json.dumps(job)}\n")
            yield ask
        finally:
            process.kill()


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


def shell(command: list[str], folder: str) -> str:
    """Standard output of a command run in `folder`."""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=offline(), check=True
    )
    return done.stdout


def offline() -> dict[str, str]:
    """The environment, with no model hub to ask."""
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


def version_of(shown: str) -> str:
    """The version in what `pip show` prints."""
    return next(x.split()[1] for x in shown.splitlines() if x.startswith("Version:"))


def reason(error: subprocess.CalledProcessError) -> str:
    """The last line that a failed command wrote, cut to a line's length."""
    lines = [line for line in (error.stderr or "").splitlines() if line.strip()]
    return lines[-1].strip()[:100] if lines else f"exit status {error.returncode}"
