"""How long experiments take, told before they run: as saved results say, else the experiment's own
MINUTES, which are those of the preset's default model on two cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness.paths import default_model
from experiments.harness.summaries import read_content
from interp.assets.registry import models

if TYPE_CHECKING:
    from experiments.harness.runner import Plan


def announce(
    plans: Sequence[Plan], model: str, roots: Sequence[Path], say: Callable[[str], None]
) -> None:
    """Say how long each plan takes; saved results are looked for in `roots`.

    "At most" where something has been measured already, since what is unchanged is kept.
    """
    total, bound = 0.0, ""
    for plan in plans:
        has_begun = any(plan.folder.parent.glob(f"{plan.folder.name}*"))
        seconds, source = estimate(plan, model, roots)
        about = f"{'at most ' if has_begun else ''}about {in_words(seconds)}"
        say(f"{plan.experiment.name}: {about if seconds else 'time unknown'} ({source})")
        total, bound = total + seconds, "at most " if has_begun else bound
    if len(plans) > 1:
        say(f"together: {bound}about {in_words(total)}")


def estimate(plan: Plan, model: str, roots: Sequence[Path]) -> tuple[float, str]:
    """Seconds, and where they are from: the newest result, of the same model if there is one.

    Those of another model are scaled by the size of the weights. 0 seconds if nothing is known.
    """
    name, preset = plan.experiment.name, plan.preset
    paths = [plan.folder / "result.json"]
    paths += [path for root in roots for path in root.glob(f"{preset}/*/{name}/result.json")]
    paths = sorted(filter(Path.is_file, paths), key=lambda p: p.stat().st_mtime, reverse=True)
    found = list(filter(None, map(read_content, paths)))
    found.sort(key=lambda content: content["model"]["name"] != model)
    if found:
        seconds, measured = found[0]["seconds"], found[0]["model"]["name"]
    elif preset in (minutes := getattr(plan.experiment.protocol, "MINUTES", {})):
        seconds, measured = 60 * minutes[preset], default_model(preset)
    else:
        return 0.0, "not run here before"
    if measured == model or not (weights(measured) and weights(model)):
        return seconds, f"measured on {measured}"
    return seconds * weights(model) / weights(measured), f"scaled from {measured}"


def weights(model: str) -> int:
    """Bytes of a model's weights; 0 if they are not known."""
    if model in models():
        return models()[model].bytes
    path = Path(model).expanduser()
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def in_words(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, else hours."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            number = seconds / size
            return f"{number:.{0 if number >= 10 else 1}f} {unit}"
    return f"{seconds:.0f} seconds"
