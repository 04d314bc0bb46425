"""Figures of experiment 08, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.estimate import number
from experiments.lab.results import Result, caption
from interp import plots

LABELS = {
    "plain": "added",
    "kept": "added, old length kept",
    "longer": "twice as long",
    "beside": "beside other features",
    "rescaled": "half and twice as long",
    "isotropic": "turned, isotropic",
    "covariance_matched": "turned, as states differ",
    "own_plane": "turned, the direction's plane",
}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure."""
    drawing = (plot_own_plane, plot_fixed_plane, plot_adding, plot_length, plot_competition)
    return {draw.__name__.removeprefix("plot_"): draw(result) for draw in drawing}


def prompts(result: Result, name: str, per: str = "class") -> str:
    """How many test prompts a figure shows."""
    return f"n = {result.tables[name].n.max():.0f} test prompts per {per}"


def plot_own_plane(result: Result) -> Figure:
    """Odds over the angle in each state's own plane."""
    table = result.tables["own_plane"]
    means = table.groupby("angle").value.mean()
    near, far = means[means.index <= 180].max(), means[means.index > 180].max()
    return plots.angles(
        table,
        title=f"Turned in its own plane a state changes refusal by up to {number(near)} nats "
        f"where adding gets, {number(far)} elsewhere",
        caption=caption(result, prompts(result, "own_plane"), "0: along the direction; adding and "
                        "scaling get to 0 to 180 degrees, beyond it the rest is reversed"),
        x_label="Angle from the direction, in each state's plane (degrees)",
        y_label="Change of the refusal odds (nats)",
    )  # fmt: skip


def plot_fixed_plane(result: Result) -> Figure:
    """Odds over the angle in the fixed plane, and in random ones."""
    table = result.tables["fixed_plane"]
    swings = table.groupby(["null", "group"]).value.agg(lambda at: at.max() - at.min())
    real, null = (number(swings.loc[is_null].max()) for is_null in (False, True))
    return plots.angles(
        table,
        title=f"Around the fixed plane the refusal odds swing by {real} nats, around the strongest "
        f"random plane by {null}",
        caption=caption(result, prompts(result, "fixed_plane"),
                        "random planes: both classes, four angles, turned with the same length"),
        x_label="Angle from the direction, in one plane for all (degrees)",
        y_label="Change of the refusal odds (nats)",
    )  # fmt: skip


def plot_adding(result: Result) -> Figure:
    """Addition, and the same turn at the old length."""
    table = result.tables["adding"]
    both = table.pivot_table(index=["stream", "depth"], columns="group", values="value")
    apart = number((both.plain - both.kept).abs().max())
    return plots.profiles(
        table,
        title=f"Adding and the turn that it amounts to are up to {apart} nats apart",
        caption=caption(result, prompts(result, "adding"),
                        "dose: in mean lengths of a state at the direction's site"),
        x_label="Added along the direction (lengths of a state)",
        y_labels="Refusal odds (nats)",
        labels=LABELS,
    )  # fmt: skip


def plot_length(result: Result) -> Figure:
    """Rescaling beside turns of the same chord, by site."""
    table = result.tables["length"]
    means = table[table.depth < table.depth.max()].groupby("group").value.mean()
    return plots.profiles(
        table,
        title=f"Half or twice the length changes the refusal odds by "
        f"{number(means['rescaled'])} nats, random turns as far by "
        f"{number(means['covariance_matched'])} to {number(means['isotropic'])}",
        caption=caption(result, prompts(result, "length"),
                        "mean absolute change; the last point is a control, after the last block"),
        y_labels="Change of the refusal odds (nats)",
        labels=LABELS,
    )  # fmt: skip


def plot_competition(result: Result) -> Figure:
    """The gap between the classes, alone and beside other features."""
    table = result.tables["competition"]
    gap = table.set_index(["label", "group"]).value
    short, long = (number(gap[name, "beside"]) for name in ("as it is", "longer"))
    return plots.intervals(
        table,
        title=f"Beside other features {short} nats of the gap between the classes are left, "
        f"of longer states {long}",
        caption=caption(result, prompts(result, "competition")),
        limits=None,
        x_label="Refusal odds, harmful minus harmless (nats)",
        labels=LABELS,
    )
