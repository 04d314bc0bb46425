"""Tables of verdicts: results/README.md, the list of experiments, reproduced beside committed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.config import changed_note
from experiments.registry import FOLDER, ExperimentFile, benchmark_files, experiment_files
from experiments.speed_report import SPEED_BEGIN, SPEED_END, speed_lines
from experiments.summaries import (
    Summary,
    committed,
    headlines,
    is_by_present_code,
    summaries,
)
from interp.registry import DEFAULT_MODEL

COMMITTED_PRESET = "full"
BEGIN, END = "<!-- verdicts: written by interp report -->", "<!-- end of verdicts -->"
EARLIER_CODE = ", measured by earlier code"
VERDICT_STYLES = {"supported": "green", "rejected": "red", "inconclusive": "yellow"}


def report_path(root: Path, preset: str) -> Path:
    """The table of the full results lies in `root`, that of another preset in its folder."""
    return root / "README.md" if preset == COMMITTED_PRESET else root / preset / "README.md"


def write_report(root: Path, preset: str, folder: Path = FOLDER) -> Path:
    """Rebuild the README of a preset's results from their result.json files.

    The full results' verdicts and the speed tables also go into the README beside the results
    folder, between markers.
    """
    path = report_path(root, preset)
    found = summaries(root, preset)
    text = report_text(found, preset, path.parent, experiment_files(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if preset == COMMITTED_PRESET:
        refresh_readme(root.parent / "README.md", root, folder)
    return path


def refresh_readme(readme: Path, root: Path, folder: Path = FOLDER) -> bool:
    """Put the full results' verdicts and speed between the markers of a README, if it has them."""
    if not readme.is_file():
        return False
    text = readme.read_text(encoding="utf-8")
    verdicts = verdict_lines(summaries(root, COMMITTED_PRESET), experiment_files(folder))
    found = between(text, BEGIN, END, verdicts)
    found = between(found, SPEED_BEGIN, SPEED_END, speed_lines(root / COMMITTED_PRESET))
    readme.write_text(found, encoding="utf-8")
    return found != text


def between(text: str, begin: str, end: str, lines: Sequence[str]) -> str:
    """The text with the lines in place of what stands between two markers, if it has both."""
    if begin not in text or end not in text:
        return text
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    body = "\n".join(lines)
    return f"{before}{begin}\n{body}\n{end}{after}"


def verdict_lines(found: Sequence[Summary], files: Sequence[ExperimentFile]) -> list[str]:
    """Verdict of every experiment and model, then the headline numbers of the default model."""
    models = sorted({summary.model for summary in found if not summary.mechanics})
    lines = _matrix(found, files, models, "results/README.md")
    lines += [f"On `{DEFAULT_MODEL}`, with 95% intervals and nulls:", ""]
    lines += ["| experiment | estimates |", "|---|---|"]
    for file in files:
        for row in found:
            if (row.experiment, row.model) == (file.name, DEFAULT_MODEL):
                estimates = "<br>".join(_cell(t) for t in headlines(row, file.path.parent))
                verdict = f"**{row.verdict}**{_earlier_code(row, file)}"
                lines.append(f"| {file.name}: {verdict} | {estimates} |")
    return lines


def report_text(
    found: Sequence[Summary], preset: str, base: Path, files: Sequence[ExperimentFile]
) -> str:
    """Markdown: a matrix of verdicts, then each experiment with its estimates and figures."""
    models = sorted({summary.model for summary in found if not summary.mechanics})
    lines = [
        f"# Results of the `{preset}` preset",
        "",
        "Built by `interp report` from the `result.json` files; do not edit. Intervals are 95%; "
        "the null is what the same measurement gives where there is nothing to find.",
        "",
    ]
    if not found:
        return "\n".join([*lines, "No results yet. Run `interp run all`.", ""])
    lines += _matrix(found, files, models)
    for file in files:
        rows = [summary for summary in found if summary.experiment == file.name]
        lines += _section(file, rows, base) if rows else []
    return "\n".join(lines)


def _matrix(
    found: Sequence[Summary], files: Sequence[ExperimentFile], models: Sequence[str], page: str = ""
) -> list[str]:
    if not models:
        return ["Random weights only: these results show that the code runs, nothing more.", ""]
    lines = [f"| experiment | {' | '.join(models)} |", f"|---|{'---|' * len(models)}"]
    for file in files:
        verdicts = {
            row.model: f"{row.verdict}{_changed(row, most=1)}{_earlier_code(row, file)}"
            for row in found
            if row.experiment == file.name
        }
        cells = [verdicts.get(model, "") for model in models]
        if verdicts:
            lines.append(f"| [{file.name}]({page}#{file.name}) | {' | '.join(cells)} |")
    return [*lines, ""]


def _section(file: ExperimentFile, rows: Sequence[Summary], base: Path) -> list[str]:
    lines = [f"## {file.name}", "", f"**Claim.** {_flat(file.claim)}", ""]
    lines += [f"**Criterion.** {_flat(rows[-1].content['criterion'])}", ""]
    lines += ["| model | verdict | estimates | figures |", "|---|---|---|---|"]
    for row in rows:
        links = [f"[{figure.stem}]({_relative(figure, base)})" for figure in row.figures]
        estimates = "<br>".join(_cell(text) for text in headlines(row, file.path.parent))
        verdict = f"{row.verdict}{_earlier_code(row, file)}"
        lines.append(f"| {_model(row)} | {verdict} | {estimates} | {', '.join(links)} |")
    lines.append("")
    for row in rows:
        if row.content["observation"]:
            lines += [f"*{_model(row)}.* {_flat(row.content['observation'])}", ""]
    return lines


def _model(row: Summary) -> str:
    style = row.content["style"]
    note = "" if style == "template" else f" (style: {style})"
    random = ", random weights: mechanics only" if row.mechanics else ""
    return f"{row.model}{note}{_changed(row)}{random}"


def _changed(row: Summary, most: int | None = None) -> str:
    """Settings that are not the preset's; older results have no record of them."""
    return changed_note(row.content.get("changed", {}), most)


def _earlier_code(row: Summary, file: ExperimentFile | None) -> str:
    """Said beside a verdict where the code that measured it has changed since."""
    return "" if file is None or is_by_present_code(row.content, file) else EARLIER_CODE


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _flat(text).replace("|", "\\|")


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def verdict_table(root: Path, preset: str, model: str | None, folder: Path = FOLDER) -> Table:
    """Verdicts of a preset beside the committed full ones of the same model."""
    table = Table(title=f"Verdicts: {preset} beside the committed {COMMITTED_PRESET} results")
    for column in ("experiment", "model", preset, f"committed {COMMITTED_PRESET}"):
        table.add_column(column, overflow="fold")
    table.add_column(f"estimates ({preset})", overflow="fold")
    known = {file.name: file for file in experiment_files(folder)}
    for row in summaries(root, preset, model):
        file = known.get(row.experiment)
        earlier = committed(root / COMMITTED_PRESET / row.model / row.experiment)
        table.add_row(
            row.experiment,
            _model(row),
            _verdict(row, file),
            _verdict(earlier, file) if earlier else "none",
            "\n".join(headlines(row, folder)),
        )
    return table


def _verdict(row: Summary, file: ExperimentFile | None) -> str:
    return f"[{VERDICT_STYLES[row.verdict]}]{row.verdict}[/]{_earlier_code(row, file)}"


def print_report(
    root: Path, preset: str, model: str | None, console: Console, folder: Path = FOLDER
) -> None:
    """The table of verdicts, then the path of every figure."""
    found = summaries(root, preset, model)
    if not found:
        console.print(f"No {preset} results under {root}. Run: interp run all --preset {preset}")
        return
    console.print(verdict_table(root, preset, model, folder))
    console.print("Figures:")
    for row in found:
        for figure in row.figures:
            console.print(f"  {figure}", highlight=False, soft_wrap=True)


def experiment_table(root: Path, presets: Sequence[str], folder: Path = FOLDER) -> Table:
    """Every experiment and benchmark with its claim, and the verdicts, per model and preset."""
    table = Table(title="Experiments")
    table.add_column("experiment", no_wrap=True)
    table.add_column("claim", overflow="fold")
    table.add_column("verdicts so far", overflow="fold")
    for file in [*experiment_files(folder), *benchmark_files(folder)]:
        found = [s for preset in presets for s in summaries(root, preset, names=file.name)]
        rows = [s for s in found if not s.mechanics]
        verdicts = [f"{s.model} ({s.preset}): {_verdict(s, file)}" for s in rows]
        table.add_row(file.name, _flat(file.claim), "\n".join(verdicts) or "none")
    return table
