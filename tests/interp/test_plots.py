"""Figures: what is drawn is what the table says, and everything an axis needs is there."""

import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from interp import plots
from interp.errors import DataError
from interp.plots import style

RNG = np.random.default_rng(0)
LABELS = {"title": "A finding (n = 8)", "x_label": "Effect (nats)"}


def profile_table() -> pd.DataFrame:
    table = pd.DataFrame(
        [
            {
                "panel": panel,
                "class": name,
                "stream": stream,
                "depth": layer + 0.5 * (stream == "mid"),
            }
            for panel in ("cosine", "variance")
            for name in ("harmful", "harmless")
            for stream in ("pre", "mid")
            for layer in range(5)
        ]
    )
    table["value"] = RNG.uniform(1, 2, len(table))
    table["low"], table["high"] = table["value"] - 0.1, table["value"] + 0.1
    table["null_low"], table["null_high"] = 0.9, 1.1
    return table


def grid_table() -> pd.DataFrame:
    return pd.DataFrame(
        [{"s": i, "t": j, "v": i - j, "op": op} for i in range(4) for j in range(6) for op in "ab"]
    )


def curve_table() -> pd.DataFrame:
    rows = [
        {"op": op, "dose": d, "angle": 45.0 * d, "kl": 0.01 * d**2, "effect": d * k, "null": null}
        for op, k, null in (("add", 1.0, False), ("rotate", 2.0, False), ("r1", 0.1, True))
        for d in range(8)
    ]
    return pd.DataFrame(rows).assign(low=lambda t: t.effect - 0.2, high=lambda t: t.effect + 0.2)


def rate_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["harmful", "harmful", "harmless", "harmless"],
            "condition": ["base", "ablated"] * 2,
            "value": [0.6, 0.1, 0.05, 0.02],
            "low": [0.5, 0.05, 0.01, 0.0],
            "high": [0.7, 0.2, 0.1, 0.1],
            "null_low": [np.nan, 0.55, np.nan, 0.0],
            "null_high": [np.nan, 0.7, np.nan, 0.1],
        }
    )


def null_table() -> pd.DataFrame:
    families = np.repeat(["isotropic", "label_permuted"], 30)
    nulls = pd.DataFrame({"family": families, "v": RNG.normal(size=60)})
    observed = pd.DataFrame({"family": ["observed"], "v": [4.0], "low": [3.0], "high": [5.0]})
    return pd.concat([observed, nulls], ignore_index=True)


def bars_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unit": ["speed-up", "speed-up", "share"],
            "work": ["ablate", "ablate", "capture"],
            "way": ["bridge", "plain", "body"],
            "ratio": [2.6, 2.4, 0.5],
            "target": [2.5, np.nan, 0.65],
            "bound": [3.0, 3.0, 0.4],
        }
    )


def draw(kind: str) -> Figure:
    wanted = {"title": "A finding (n = 8)", "y_label": "Effect (nats)"}
    if kind == "profile":
        table = profile_table().query("panel == 'cosine'")
        return plots.profile_over_layers(table, y="value", group="class", **wanted)
    if kind == "paired":
        panels = {"cosine": "Cosine", "variance": "Variance"}
        return plots.paired_profiles(profile_table(), title=wanted["title"], panel_labels=panels)
    if kind == "matrix":
        table = grid_table().query("op == 'a'")
        return plots.matrix(
            table, row="s", column="t", value="v", value_label="Nats", x_label="To", **wanted
        )
    if kind == "dose":
        return plots.dose_response(
            curve_table(),
            damage="kl",
            effect="effect",
            group="op",
            dose="dose",
            x_label="KL",
            **wanted,
        )
    if kind == "rates":
        return plots.rates(rate_table(), label="label", condition="condition", **LABELS)
    if kind == "angle":
        return plots.angle_curve(curve_table(), angle="angle", value="effect", group="op", **wanted)
    if kind == "strip":
        return plots.null_strip(null_table(), value="v", family="family", **LABELS)
    if kind == "bars":
        return plots.bars_beside_marks(
            bars_table(),
            panel="unit",
            panel_labels={"speed-up": "Speed-up (times)", "share": "Share of the time"},
            label="work",
            value="ratio",
            group="way",
            marks={"target": "target", "bound": "best possible"},
            title=wanted["title"],
        )
    table = curve_table().query("not null")
    return plots.scatter(table, x="kl", y="effect", group="op", x_label="KL", **wanted)


KINDS = (
    "profile", "paired", "matrix", "dose", "rates", "angle", "strip", "scatter", "bars",
)  # fmt: skip


def lines(figure: Figure, axis: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in figure.axes[axis].lines
    ]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_title_named_axes_and_no_global_state(kind, tmp_path):
    before = dict(matplotlib.rcParams)
    figure = draw(kind)
    assert dict(matplotlib.rcParams) == before
    assert "n = 8" in figure.get_suptitle()
    assert figure.axes[0].get_ylabel() or kind in ("rates", "strip", "bars")
    assert any(axis.get_xlabel() for axis in figure.axes)
    style.save_figure(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width == 8 * 150
        assert round(image.info["dpi"][0]) == 150


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_drawn_over_the_edge(kind):
    figure = draw(kind)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    parts = [*figure.legends, *figure.texts, *(axis.yaxis.label for axis in figure.axes)]
    for part in parts:
        if isinstance(part, Text) and not part.get_text():
            continue
        box = part.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y0 >= -1
        assert box.y1 <= height + 1


def test_equal_figures_are_equal_files(tmp_path):
    for name in ("first.png", "second.png"):
        style.save_figure(plots.rates(rate_table(), label="label", condition="condition", **LABELS),
                          tmp_path / name)  # fmt: skip
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_notebook_shows_the_figure_without_a_backend():
    content, size = draw("scatter")._repr_png_()
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert size["width"] < image.width


def test_profile_draws_each_class_and_stream_in_order_of_depth():
    table = profile_table().query("panel == 'cosine'")
    shuffled = table.sample(frac=1, random_state=0)
    figure = plots.profile_over_layers(
        shuffled, y="value", group="class", title="t", y_label="Cosine"
    )
    drawn = lines(figure)
    assert len(drawn) == 4
    for _, rows in table.groupby(["class", "stream"]):
        expected = rows["depth"].to_numpy(), rows["value"].to_numpy()
        assert any(
            np.array_equal(x, expected[0]) and np.array_equal(y, expected[1]) for x, y in drawn
        )
    assert len(figure.axes[0].collections) == 8  # a band and a null band for each line
    assert set(legend(figure)) == {"harmful", "harmless", "pre", "mid", "null, 95%"}


def test_a_class_keeps_its_colour_and_streams_differ_in_style():
    figure = draw("paired")
    for axis in figure.axes:
        colours = [line.get_color() for line in axis.lines]
        assert colours.count(style.VERMILLION) == 2
        assert colours.count(style.BLUE) == 2
        assert len({line.get_linestyle() for line in axis.lines}) == 2


def test_matrix_cells_stand_where_the_table_puts_them():
    shuffled = grid_table().sample(frac=1, random_state=1)
    shuffled = shuffled[~((shuffled["s"] == 2) & (shuffled["t"] == 3))]
    figure = plots.matrix(
        shuffled, row="s", column="t", value="v", panel="op",
        title="t", x_label="To", y_label="From", value_label="Nats",
    )  # fmt: skip
    for axis in figure.axes[:2]:
        image = axis.images[0].get_array()
        assert image is not None
        grid = np.ma.filled(image.astype(float), np.nan)
        assert grid.shape == (4, 6)
        assert np.isnan(grid[2, 3])
        assert grid[3, 0] == 3
        assert grid[0, 5] == -5
    norm = figure.axes[0].images[0].norm
    assert (norm.vmin, norm(0.0), norm.vmax) == (-5, 0.5, 5)


def test_a_matrix_of_many_layers_names_some_columns_and_every_named_row():
    layers = [*map(str, range(1, 24)), "null"]
    table = pd.DataFrame([(s, t, 1.0) for s in layers for t in layers], columns=["s", "t", "v"])
    figure = plots.matrix(
        table, row="s", column="t", value="v", labels={"null": "null, 95th"},
        title="t", x_label="To", y_label="From", value_label="Nats",
    )  # fmt: skip
    columns, rows = (
        [label.get_text() for label in labels]
        for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels())
    )
    assert columns == [*map(str, range(1, 24, 2)), "null, 95th"]
    assert rows == [*layers[:-1], "null, 95th"]
    assert figure.axes[0].get_xticks().tolist() == [*range(0, 23, 2), 23]


def test_dose_response_has_a_panel_per_place_and_the_null_in_each():
    table = curve_table()
    table = table.assign(place=np.where(table["op"] == "add", "norms", "source"))
    figure = plots.dose_response(
        table, damage="kl", effect="effect", group="op", dose="dose", panel="place",
        labels={"source": "at the source"}, title="t", x_label="KL", y_label="Nats",
    )  # fmt: skip
    null = table.loc[table["null"], "kl"]
    assert [axis.get_title() for axis in figure.axes] == ["norms", "at the source"]
    for axis, op in zip(figure.axes, ("add", "rotate"), strict=True):
        drawn = [np.asarray(line.get_xdata()) for line in axis.lines]
        assert any(np.array_equal(at, null) for at in drawn)
        assert any(np.array_equal(at, table.loc[table["op"] == op, "kl"]) for at in drawn)


def test_dose_response_joins_in_order_of_dose_and_greys_nulls():
    figure = draw("dose")
    table = curve_table()
    null = table[table["null"]]
    drawn = lines(figure)
    assert np.array_equal(drawn[0][0], null["kl"])
    assert figure.axes[0].lines[0].get_color() == style.NULL_GREY
    rotate = table[table["op"] == "rotate"]
    assert any(np.array_equal(y, rotate["effect"]) for _, y in drawn[1:])
    assert "random directions" in legend(figure)
    assert "r1" not in legend(figure)


def test_rates_put_points_and_intervals_on_their_row():
    figure = draw("rates")
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["harmful", "harmless"]
    base, ablated = axis.lines
    assert np.array_equal(base.get_xdata(), [0.6, 0.05])
    assert np.array_equal(ablated.get_xdata(), [0.1, 0.02])
    assert (np.round(np.asarray(ablated.get_ydata())) == [0, 1]).all()
    assert base.get_color() == style.BLACK
    bars = [patch.get_width() for patch in axis.patches if np.isfinite(patch.get_width())]
    assert np.allclose(sorted(bars), [0.1, 0.15])


def test_bars_of_one_label_stand_together_and_carry_their_marks():
    figure = draw("bars")
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [2.6, 2.4]
    first, second = (patch.get_y() for patch in figure.axes[0].patches)
    assert 0 < second - first < 1
    marks = [float(x[0]) for x, _ in lines(figure)]
    np.testing.assert_array_equal(marks, [2.5, 3.0, np.nan, 3.0])
    assert legend(figure) == ["bridge", "plain", "body", "target", "best possible"]


def test_angle_curve_closes_the_circle():
    figure = draw("angle")
    assert figure.axes[0].get_xlim() == (0, 360)
    for x, y in lines(figure):
        assert (x[0], x[-1]) == (0, 360)
        assert y[0] == y[-1]


def test_null_strip_shows_every_draw_and_the_effect():
    figure = draw("strip")
    table = null_table()
    points = np.concatenate([x for x, _ in lines(figure) if len(x) == 30])
    assert len(points) == len(table) - 1
    assert any(np.array_equal(x, [4.0, 4.0]) for x, _ in lines(figure))


def test_titles_wrap_and_stay_whole():
    long = "Every word of a long finding must be read in the figure, however many there are " * 3
    figure = plots.null_strip(
        null_table(), value="v", family="family", title=long.strip(), x_label="Nats"
    )
    title = figure.get_suptitle()
    assert title.count("\n") >= 3
    assert title.split() == long.split()


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.profile_over_layers(profile_table(), y="absent", title="", y_label=""),
        lambda: plots.paired_profiles(profile_table(), title="", panel_labels={"slope": "Slope"}),
        lambda: plots.rates(rate_table()[:0], label="label", condition="condition", **LABELS),
        lambda: plots.null_strip(null_table()[1:], value="v", family="family", **LABELS),
        lambda: plots.scatter(
            pd.DataFrame({"x": range(12), "y": range(12), "g": range(12)}),
            x="x", y="y", group="g", title="", x_label="", y_label="",
        ),
    ],
    ids=["column", "panel", "empty", "no effect", "too many colours"],
)  # fmt: skip
def test_tables_that_cannot_be_drawn_are_named(call):
    with pytest.raises(DataError):
        call()
