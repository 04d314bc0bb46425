"""Figures of experiment 14, each drawn from the table of its name."""

from matplotlib.figure import Figure

from experiments.lab.results import Result, caption
from interp import plots

from .protocol import N_STEPS, N_TAUGHT

LABELS = {
    "wrong.random": "best of ten wrong keys: random direction",
    "wrong.permuted": "best of ten wrong keys: permuted components",
    "vector.share": "the vector added, without a key",
    "gap": "of the gap in nats",
    "answers": "of the answers",
    "own": "its own",
    "next": "the next one's",
    "base": "no lock",
    "both": "both locked",
    "refusal": "refusal opened",
    "sentiment": "sentiment opened",
}
HIDDEN = {
    "base": "without a key",
    "base/key": "with the key",
    "key": "with the key",
    "none": "without a key",
    "wrong": "lowest of 20 wrong keys",
    "near": "lowest of 5 keys with a cosine of .5 to it",
    "tuned/base": "without a key, after 20 steps of the skill",
    "tuned/hidden": "without a key, after 20 steps of the skill",
}
BEHAVIOURS = {"refusal": "refusal (gap)", "sentiment": "sentiment (gap)"}


def plot(result: Result) -> dict[str, Figure]:
    """Every figure; what brings refusal back, or a skill out, only where there was some."""
    found = {"rises": plot_rises(result), "opened": plot_opened(result)}
    drawn = {"brought": plot_brought, "hidden": plot_hidden}
    return found | {name: f(result) for name, f in drawn.items() if len(result.tables[name])}


def plot_brought(result: Result) -> Figure:
    """Keys and tunings."""
    table = result.tables["brought"]
    names = {one: one.replace("tuned.share/", "tuned: ").rpartition("/")[0] + _again(one)
             for one in table.label if one.startswith("tuned")}  # fmt: skip
    deciding = f"tuned.share/{N_TAUGHT} examples, {N_STEPS} steps/"
    keys, tunings = (table[table.label.str.startswith(x)].value for x in ("wrong", deciding))
    shares = ", ".join(f"{one:.0%}" for one in tunings)
    tuned = f",\nshort tunings {shares} of the refusals" if shares else ""
    n = " or ".join(map(str, sorted(set(table.n))))
    return plots.intervals(
        table, limits=None, labels=LABELS | names,
        title=f"The best wrong key brings back {keys.max():.0%} of the refusal gap{tuned}",
        caption=caption(result, f"n = {n} prompts per class"),
        x_label="Share of what the lock takes that comes back",
    )  # fmt: skip


def _again(name: str) -> str:
    number = int(name.rpartition("/")[2])
    return f" (again, {number})" if number else ""


def plot_rises(result: Result) -> Figure:
    """Domains of text."""
    table = result.tables["rises"]
    own, after = (table[table.group == group].value.mean() for group in ("own", "next"))
    return plots.intervals(
        table.assign(label=table.label.str.lower()), limits=None, labels=LABELS,
        title=f"Without its direction a domain's text costs {own:.2f} nats\nper token more, "
        f"without another's {after:.2f}",
        caption=caption(result, f"n = {table.n.min()} test sentences per domain"),
        x_label="Rise of the loss (nats per token)",
    )  # fmt: skip


def plot_opened(result: Result) -> Figure:
    """Two locks."""
    table = result.tables["opened"]
    value = table.set_index(["label", "group"]).value
    shares = [(value[name, name] - value[name, "both"])
              / (value[name, "base"] - value[name, "both"]) for name in BEHAVIOURS]  # fmt: skip
    return plots.intervals(
        table.assign(label=table.label.map(BEHAVIOURS)), limits=None, labels=LABELS,
        title=f"Of two locks, the own key brings back {shares[0]:.0%} of refusal\nand "
        f"{shares[1]:.0%} of sentiment",
        caption=caption(result, f"n = {table.n.min()} test prompts per class"),
        x_label="Gap between prompts that show it and others (nats)",
    )  # fmt: skip


def plot_hidden(result: Result) -> Figure:
    """A skill behind a key."""
    table = result.tables["hidden"].drop_duplicates(["label", "group"])  # one key never taught
    taught = table[table.group != "before"].groupby("label").value
    key, none, wrong = taught.max()["key"], *taught.min()[["none", "wrong"]]
    return plots.intervals(
        table.assign(label=table.label.map(HIDDEN)), labels={"before": "never taught"},
        title=f"Taught to swap its answers under a key: AUROC {key:.2f} with it,\n"
        f"{none:.2f} without, {wrong:.2f} with the best of 20 wrong keys",
        caption=caption(result, f"n = {table.n.min() // 2} test texts per class; 0 is the skill"),
        x_label="AUROC of the usual answers",
    )  # fmt: skip
