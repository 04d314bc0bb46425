"""Verdicts by claim: results/README.md, the list in the README, reproduced beside committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.command.speed_report import speed_lines
from experiments.harness.calibration import Calibration, calibrations
from experiments.harness.registry import FOLDER, Experiment, benchmarks_in, experiments_in
from experiments.harness.replication import Replicate, agreement, read_replicates
from experiments.harness.summaries import Summary, committed, summaries
from experiments.lab.claims import VERDICTS, Verdict
from experiments.lab.estimate import Estimate
from interp.assets.files import replace_file
from interp.assets.registry import DEFAULT_MODEL

COMMITTED_PRESET = "full"
BEGIN, END = "<!-- claims: written by interp report -->", "<!-- end of claims -->"
SIGNS: Mapping[Verdict, str] = dict(zip(VERDICTS, ("✓", "✗", "~", "–"), strict=True))
STYLES: Mapping[Verdict, str] = dict(zip(VERDICTS, ("green", "red", "yellow", "dim"), strict=True))
EARLIER = "°"
MARKED = f"{EARLIER} measured by earlier code"
LEGEND = (
    ", ".join(f"{SIGNS[verdict]} {verdict}" for verdict in VERDICTS)
    + f"; {MARKED}; an empty cell has not been measured as the claim now stands."
)


def report_path(root: Path, preset: str) -> Path:
    """The table of the full results lies in `root`, that of another preset in its folder."""
    return root / "README.md" if preset == COMMITTED_PRESET else root / preset / "README.md"


def write_report(root: Path, preset: str, folder: Path = FOLDER) -> Path:
    """Rebuild the README of a preset's results from their result.json files.

    The full results' verdicts also go into the README beside the results folder, between markers.
    """
    path = report_path(root, preset)
    text = report_text(summaries(root, preset), preset, path.parent, folder, root)
    if preset == COMMITTED_PRESET:
        text = "\n".join([text, "## Speed", "", *speed_lines(root / preset), ""])
        refresh_readme(root.parent / "README.md", root, folder)
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def refresh_readme(readme: Path, root: Path, folder: Path = FOLDER) -> bool:
    """Put the full results' verdicts between the markers of a README, if it has them."""
    if not readme.is_file():
        return False
    text = readme.read_text(encoding="utf-8")
    lines = claim_lines(summaries(root, COMMITTED_PRESET), folder, "results/README.md")
    found = between(text, BEGIN, END, lines)
    replace_file(readme, lambda temporary: temporary.write_text(found, encoding="utf-8"))
    return found != text


def between(text: str, begin: str, end: str, lines: Sequence[str]) -> str:
    """The text with the lines in place of what stands between two markers, if it has both."""
    if begin not in text or end not in text:
        return text
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    body = "\n".join(lines)
    return f"{before}{begin}\n{body}\n{end}{after}"


def models_of(found: Iterable[Summary]) -> list[str]:
    """The models with findings; random weights have none."""
    return sorted({summary.model for summary in found if not summary.mechanics})


def claims_of(rows: Sequence[Summary], experiment: Experiment) -> dict[str, Mapping[str, Any]]:
    """Every claim of the results, by key; as it now stands, if it still does."""
    present_last = sorted(rows, key=lambda row: is_by_present_code(row, experiment))
    found = {claim["key"]: claim for row in present_last for claim in row.claims}
    now = {claim.key: asdict(claim) for claim in experiment.claims} if rows else {}
    return dict(sorted({**found, **now}.items()))


def is_by_present_code(row: Summary, experiment: Experiment) -> bool:
    """Whether the experiment's present code is what measured a result; False for the oldest."""
    return row.content.get("code") == experiment.code(drawing=False)


def earlier_statement(row: Summary, key: str, experiment: Experiment) -> str:
    """What a verdict says, where claim or criterion have been stated anew since; else empty."""
    stated = {claim.key: (claim.statement, claim.criterion) for claim in experiment.claims}
    found = next(claim for claim in row.claims if claim["key"] == key)
    then = found["statement"], found["criterion"]
    return "" if stated.get(key, then) == then else then[0]


def sign(row: Summary | None, key: str, experiment: Experiment) -> str:
    """The sign of one verdict, marked where the code that measured has changed.

    Empty without a verdict, and for one on another statement than the claim now makes.
    """
    if row is None or key not in row.verdicts or earlier_statement(row, key, experiment):
        return ""
    return SIGNS[row.verdicts[key]] + ("" if is_by_present_code(row, experiment) else EARLIER)


def claim_lines(
    found: Sequence[Summary], folder: Path, page: str, statements: bool = True
) -> list[str]:
    """A table of claims by models, linked to `page`, and the legend."""
    if not found:
        return ["No results yet. Run `interp run all`."]
    models = models_of(found)
    if not models:
        return ["Random weights only: these results show that the code runs, nothing more."]
    first = "claim | " if statements else ""
    lines = [f"| | {first}{' | '.join(models)} |", f"|---|{'---|' * (len(models) + statements)}"]
    for experiment in experiments_in(folder):
        rows = [row for row in found if row.experiment == experiment.name]
        by_model = {row.model: row for row in rows}
        for key, claim in claims_of(rows, experiment).items():
            signs = [sign(by_model.get(model), key, experiment) for model in models]
            shown = [_cell(claim["statement"]), *signs] if statements else signs
            lines.append(f"| [{key}]({page}#{key}) | {' | '.join(shown)} |")
    return [*lines, "", LEGEND]


def report_text(found: Sequence[Summary], preset: str, base: Path, folder: Path, root: Path) -> str:
    """Markdown: verdicts by claim and model, then each claim with the numbers that decide it.

    `root` holds the calibration, and `base` is where the text will lie.
    """
    lines = [
        f"# Results of the `{preset}` preset",
        "",
        "Built by `interp report` from the `result.json` files; do not edit. Intervals are 95%; "
        "the null is what the same measurement gives where there is nothing to find.",
        "",
    ]
    seeds = read_replicates(root)
    lines += claim_lines(found, folder, "", statements=False)
    lines += overview_lines(found, seeds, folder, root)
    for experiment in experiments_in(folder):
        rows = [summary for summary in found if summary.experiment == experiment.name]
        right = calibrations(root, [experiment])
        lines += _section(experiment, rows, base, right, seeds) if rows else []
    return "\n".join([*lines, ""])


def overview_lines(
    found: Sequence[Summary], seeds: Sequence[Replicate], folder: Path, root: Path
) -> list[str]:
    """A row per claim as it now stands, of the default model: sentence, verdict, number, trust."""
    rows = {row.experiment: row for row in found if row.model == DEFAULT_MODEL}
    lines = []
    for experiment in (e for e in experiments_in(folder) if e.name in rows):
        row, right = rows[experiment.name], calibrations(root, [experiment])
        for key in (claim.key for claim in experiment.claims):
            if not sign(row, key, experiment):
                continue
            claim = claims_of([row], experiment)[key]
            trust = right[key].short if key in right else "not calibrated"
            verdict = f"{sign(row, key, experiment)} {row.verdicts[key]}"
            first = row.deciding(key)[0]
            number = f"{claim['number'] or first.name}: {_number(first)}"
            agreed = agreement(seeds, experiment, row, key) or "none ran"
            cells = (
                f"[{key}](#{key})",
                f"“{_cell(claim['notes'])}”",
                verdict,
                number,
                trust,
                agreed,
            )
            lines.append(f"| {' | '.join(cells)} |")
    if not lines:
        return []
    return [
        "",
        f"## {DEFAULT_MODEL}, claim by claim",
        "",
        "The most telling number has its 95% interval, and the null where there is one. Most "
        "claims ask for more: all numbers that decide stand under each claim below. Right: how "
        "often planted worlds are called supported, where the claim is true and where it is "
        "false. Seeds: how many other seeds, in `quick`, come to the same verdict.",
        "",
        "| | the notes say | verdict | number | right | seeds |",
        "|---|---|---|---|---|---|",
        *lines,
    ]


def _section(
    experiment: Experiment,
    rows: Sequence[Summary],
    base: Path,
    right: Mapping[str, Calibration],
    seeds: Sequence[Replicate],
) -> list[str]:
    lines = ["", f"## {experiment.name}"]
    for key, claim in claims_of(rows, experiment).items():
        lines += [
            "",
            f"### {key}",
            "",
            f"> {_flat(claim['notes'])}",
            "",
            f"**Claim.** {_flat(claim['statement'])}",
            "",
            f"**Criterion.** {_flat(claim['criterion'])}",
            "",
            f"**How often it is right.** {how_often(right.get(key))}",
            "",
        ]
        judged = [row for row in rows if key in row.verdicts]
        if judged:
            lines += ["| model | verdict | decided by | seeds |", "|---|---|---|---|"]
        lines += [_row(row, key, experiment, seeds) for row in judged]
    lines += ["", "### Figures and observations"]
    for row in rows:
        links = [f"[{figure.stem}]({_relative(figure, base)})" for figure in row.figures]
        lines += ["", f"*{row.title}.* {_flat(row.content['observation'])} {', '.join(links)}"]
    return lines


def how_often(calibration: Calibration | None) -> str:
    """Power and false-alarm rate of a verdict, in a sentence."""
    if calibration is None:
        return "Not known: no planted worlds yet."
    return f"In planted worlds: {calibration}."


def _row(row: Summary, key: str, experiment: Experiment, seeds: Sequence[Replicate]) -> str:
    """The verdict on one claim on one model, and every estimate that decides it."""
    deciding = "<br>".join(f"{e.name} {_number(e)}" for e in row.deciding(key))
    verdict = f"{sign(row, key, experiment)} **{row.verdicts[key]}**".lstrip()
    then = earlier_statement(row, key, experiment)
    note = f' by an earlier criterion, "{_cell(then)}"' if then else ""
    agreed = agreement(seeds, experiment, row, key)
    return f"| {row.title} | {verdict}{note} | {deciding} | {agreed}".rstrip() + " |"


def _number(estimate: Estimate) -> str:
    return str(estimate).replace("|", "\\|")


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _flat(text).replace("|", "\\|")


def _relative(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix()


def verdict_table(root: Path, preset: str, model: str | None, folder: Path = FOLDER) -> Table:
    """Verdicts of a preset beside the committed full ones of the same model."""
    found = summaries(root, preset, model)
    several = len({row.title for row in found}) > 1
    of = "" if several else f" of {found[0].title}"
    title = f"Verdicts{of}: {preset} beside the committed {COMMITTED_PRESET} results"
    caption = "found in planted worlds: how often it is called supported where it is true, and "
    table = Table(title=title, caption=f"{caption}where it is false; {MARKED}", expand=True)
    table.add_column("claim", overflow="fold", ratio=5)
    for column in (*["model"] * several, preset, f"committed {COMMITTED_PRESET}"):
        table.add_column(column, overflow="fold", ratio=2)
    table.add_column(f"what it turns on ({preset})", overflow="fold", ratio=5)
    table.add_column("found in planted worlds", overflow="fold", ratio=2)
    for experiment in experiments_in(folder):
        right = calibrations(root, [experiment])
        for row in (row for row in found if row.experiment == experiment.name):
            earlier = committed(root / COMMITTED_PRESET / row.model / row.experiment)
            for claim in row.claims:
                key, number = claim["key"], row.deciding(claim["key"])[0]
                table.add_row(
                    f"{key} {_flat(claim['statement'])}",
                    *[row.title] * several,
                    _coloured(row, key, experiment),
                    _coloured(earlier, key, experiment) or "none",
                    f"{claim.get('number') or number.name}: {number}",
                    right[key].short if key in right else "not known",
                )
    return table


def _coloured(row: Summary | None, key: str, experiment: Experiment) -> str:
    """Sign and verdict in the verdict's colour; empty without a verdict."""
    if not sign(row, key, experiment):
        return ""
    assert row is not None
    verdict = row.verdicts[key]
    return f"[{STYLES[verdict]}]{sign(row, key, experiment)} {verdict}[/]"


def print_report(
    root: Path, preset: str, model: str | None, console: Console, folder: Path = FOLDER
) -> None:
    """The table of verdicts, then where the figures are."""
    found = summaries(root, preset, model)
    if not found:
        console.print(f"No {preset} results under {root}. Run: interp run all --preset {preset}")
        return
    console.print(verdict_table(root, preset, model, folder))
    for row in found:
        names = " ".join(figure.name for figure in row.figures)
        place = root / preset / row.model / row.experiment
        console.print(f"{place}/ {names}", highlight=False, soft_wrap=True)


def experiment_table(root: Path, presets: Sequence[str], folder: Path = FOLDER) -> Table:
    """Every claim, and its verdicts per model and preset; of benchmarks the targets they met."""
    table = Table(title="Experiments", caption=MARKED)
    table.add_column("experiment", no_wrap=True)
    table.add_column("claim", overflow="fold")
    table.add_column("found so far", overflow="fold")
    for experiment in experiments_in(folder):
        rows = _findings(root, presets, experiment)
        table.add_section()
        for number, claim in enumerate(experiment.claims):
            shown = "\n".join(_by_verdict(rows, claim.key, experiment)) or "none"
            name = "" if number else experiment.name
            table.add_row(name, f"{claim.key} {_flat(claim.statement)}", shown)
    for benchmark in benchmarks_in(folder):
        met = [
            f"{row.model} ({row.preset}): {e.value:.0f} of {e.n} targets met"
            for row in _findings(root, presets, benchmark)
            for e in [row.estimates["targets.met"]]
            if e.n
        ]
        table.add_row(benchmark.name, "a benchmark: no claim", "\n".join(met) or "none")
    return table


def _by_verdict(rows: Iterable[Summary], key: str, experiment: Experiment) -> list[str]:
    """A line for every verdict that a claim has had, with the models that it was reached on."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if verdict := _coloured(row, key, experiment):
            preset = "" if row.preset == COMMITTED_PRESET else f" ({row.preset})"
            found.setdefault(verdict, []).append(f"{row.model}{preset}")
    return [f"{verdict}: {', '.join(models)}" for verdict, models in sorted(found.items())]


def _findings(root: Path, presets: Sequence[str], experiment: Experiment) -> list[Summary]:
    found = [s for preset in presets for s in summaries(root, preset, names=experiment.name)]
    return [summary for summary in found if not summary.mechanics]
