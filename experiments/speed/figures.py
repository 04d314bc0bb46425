"""The figure of the speed benchmark."""

import pandas as pd
from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from experiments.speed.protocol import SPEED_UP
from experiments.speed.works import BRIDGE, PLAIN_HOOKS
from interp import plots

PANELS = {
    SPEED_UP: "Speed-up (baseline's seconds / engine's seconds)",
    "share": "Engine / baseline\n(time and memory: less is better; rate: more is better)",
}
LABELS = {BRIDGE: "run_with_hooks", PLAIN_HOOKS: "plain hooks", "other": "other baseline"}
MARKS = {
    "target": "target",
    "bound_padded": "bound, with padding",
    "bound_packed": "bound, no padding",
}


def plot(result: Result) -> dict[str, Figure]:
    """The figure."""
    return {"speed": plot_speed(result)}


def plot_speed(result: Result) -> Figure:
    """Ratios as bars; targets and bounds as marks."""
    shown = result.tables["speed"].dropna(subset=["ratio"])
    is_speed_up = shown["unit"] == SPEED_UP
    named = shown["baseline"].isin([BRIDGE, PLAIN_HOOKS])
    shown = shown.assign(
        panel=shown["unit"].where(is_speed_up, "share"),
        group=shown["baseline"].where(named, "other"),
        label=[_label(row) for row in shown.to_dict("records")],
        value=shown["ratio"],
    )
    return plots.bars(
        shown,
        panel_labels=PANELS,
        marks=MARKS,
        title=_title(shown[is_speed_up & (shown["baseline"] == BRIDGE)]),
        caption=caption(result),
        labels=LABELS,
    )


def _label(row: dict[str, object]) -> str:
    """The work, with its baseline where that is not one of the two that have a colour."""
    work = str(row["work"]).partition(" (")[0]
    if row["unit"] == SPEED_UP and row["baseline"] in LABELS:
        return work
    return f"{work}\nvs {str(row['baseline']).partition(' (')[0]}"


def _title(rows: pd.DataFrame) -> str:
    reached = rows.dropna(subset=["of_bound"])
    low, high = number(rows["ratio"].min()), number(rows["ratio"].max())
    share = f"{reached['of_bound'].min():.0%}"
    return (
        f"Engine {low} to {high} times as fast as run_with_hooks, at least {share} of what is "
        "possible with padding"
    )
