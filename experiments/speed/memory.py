"""Peak memory of streaming statistics, each measured in a process of its own.

The process loads the model, forgets the peak that loading left, and streams over the prompts. The
peak is `VmHWM` on Linux: `ru_maxrss` would carry the parent's size into the child there.
Elsewhere it is `ru_maxrss`, the peak of loading included.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.harness.provenance import peak_memory_mb
from experiments.harness.source import ROOT
from interp.errors import ExperimentError

PROCESS = Path("/proc/self")
RESET_PEAK = "5"  # what to write to clear_refs, see proc(5)


def measure(job: dict[str, Any]) -> dict[str, float]:
    """Peak MB and seconds of a child process; `job` has model, dtype, style, prompts, n."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ExperimentError(f"Measuring memory in a process of its own failed: {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def many(prompts: Sequence[str], n: int) -> list[str]:
    """`n` different prompts of about the same lengths: the given ones, numbered."""
    return [f"{prompts[i % len(prompts)]} ({i:05})" for i in range(n)]


def stream(job: dict[str, Any]) -> dict[str, float]:
    """Load, stream over the prompts, and say what that took; run in the child."""
    from interp.activations import capture_moments
    from interp.models import load
    from interp.prompts import tokenise
    from interp.sites import all_sites

    model = load(job["model"], dtype=job["dtype"])
    streams = ("pre", "mid") if model.info.has_mid else ("pre",)
    tokens = tokenise(model, many(job["prompts"], job["n"]), job["style"])
    forget_peak()
    started = time.perf_counter()
    capture_moments(model, tokens, sites=all_sites(model.n_layers, streams))
    return {"peak_mb": peak_mb(), "seconds": time.perf_counter() - started}


def forget_peak() -> None:
    """Let the peak start from the memory in use now, where the system can."""
    if PROCESS.is_dir():
        (PROCESS / "clear_refs").write_text(RESET_PEAK)


def peak_mb() -> float:
    """Largest resident memory since the peak was forgotten, in MB."""
    if not PROCESS.is_dir():
        return peak_memory_mb()
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(stream(json.loads(sys.stdin.read()))) + "\n")
