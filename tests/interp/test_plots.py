"""Figures: what is drawn is what the table says, and everything an axis needs is there."""

import io
from collections.abc import Callable

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
LABELS = {"title": "A finding", "caption": "a model; n = 8", "x_label": "Effect (nats)"}


def profile_table() -> pd.DataFrame:
    table = pd.DataFrame(
        [
            {
                "panel": panel,
                "group": name,
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
        [
            {"row": i, "column": j, "value": i - j, "panel": panel}
            for i in range(4)
            for j in range(6)
            for panel in "ab"
        ]
    )


def curve_table() -> pd.DataFrame:
    rows = [
        {
            "group": op,
            "dose": d,
            "angle": 45.0 * d,
            "damage": 0.01 * d**2,
            "effect": d * k,
            "null": null,
        }
        for op, k, null in (("add", 1.0, False), ("rotate", 2.0, False), ("r1", 0.1, True))
        for d in range(8)
    ]
    table = pd.DataFrame(rows).assign(value=lambda t: t.effect)
    return table.assign(low=table.effect - 0.2, high=table.effect + 0.2)


def rate_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["harmful", "harmful", "harmless", "harmless"],
            "group": ["base", "ablated"] * 2,
            "value": [0.6, 0.1, 0.05, 0.02],
            "low": [0.5, 0.05, 0.01, 0.0],
            "high": [0.7, 0.2, 0.1, 0.1],
            "null_low": [np.nan, 0.55, np.nan, 0.0],
            "null_high": [np.nan, 0.7, np.nan, 0.1],
        }
    )


def null_table() -> pd.DataFrame:
    families = np.repeat(["isotropic", "label_permuted"], 30)
    nulls = pd.DataFrame({"family": families, "value": RNG.normal(size=60)})
    observed = pd.DataFrame({"family": ["observed"], "value": [4.0], "low": [3.0], "high": [5.0]})
    return pd.concat([observed, nulls], ignore_index=True)


def bars_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "panel": ["speed-up", "speed-up", "share"],
            "label": ["ablate", "ablate", "capture"],
            "group": ["bridge", "plain", "body"],
            "value": [2.6, 2.4, 0.5],
            "target": [2.5, np.nan, 0.65],
            "bound": [3.0, 3.0, 0.4],
        }
    )


def states_table() -> pd.DataFrame:
    rows = [(f"layer {k}", x, -x, group) for k in range(6) for x in range(3) for group in "ab"]
    return pd.DataFrame(rows, columns=["panel", "x", "y", "group"])


def answers_table() -> pd.DataFrame:
    return pd.DataFrame({"prompt": ["How?", "Why?"], "base": ["word " * 60, "So."]})


PANELS = {"cosine": "Cosine", "variance": "Variance"}


def draw(kind: str) -> Figure:
    wanted = {"title": "A finding", "caption": "a model; n = 8"}
    named = {**wanted, "x_label": "Effect (nats)", "y_label": "Effect (nats)"}
    turned = {**wanted, "y_label": "Effect (nats)"}
    points = curve_table().query("not null").rename(columns={"damage": "x", "effect": "y"})
    drawing: dict[str, Callable[[], Figure]] = {
        "profile": lambda: plots.profiles(
            profile_table().query("panel == 'cosine'"), y_labels={"cosine": "Cosine"}, **wanted
        ),
        "paired": lambda: plots.profiles(profile_table(), y_labels=PANELS, **wanted),
        "matrix": lambda: plots.matrix(
            grid_table().query("panel == 'a'"), value_label="Nats", **named
        ),
        "doses": lambda: plots.doses(curve_table(), **named),
        "intervals": lambda: plots.intervals(rate_table(), **LABELS),
        "angles": lambda: plots.angles(curve_table(), **turned),
        "polar": lambda: plots.polar(curve_table(), **wanted),
        "strip": lambda: plots.strip(null_table(), **LABELS),
        "bars": lambda: plots.bars(
            bars_table(),
            panel_labels={"speed-up": "Speed-up (times)", "share": "Share of the time"},
            marks={"target": "target", "bound": "best possible"},
            **wanted,
        ),
        "points": lambda: plots.points(points, **named),
        "states": lambda: plots.states(states_table(), **named),
        "answers": lambda: plots.answers(answers_table(), columns=["prompt", "base"], **wanted),
    }
    return drawing[kind]()


KINDS = (
    "profile", "paired", "matrix", "doses", "intervals", "angles", "polar", "strip", "points",
    "bars", "states", "answers",
)  # fmt: skip
UNNAMED = ("intervals", "strip", "bars", "polar", "answers")  # without a name on the y axis


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
    assert figure.get_suptitle() == "A finding"
    assert "a model; n = 8" in [text.get_text() for text in figure.texts]
    assert figure.axes[0].get_ylabel() or kind in UNNAMED
    assert any(axis.get_xlabel() for axis in figure.axes) or kind in ("polar", "answers")
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


@pytest.mark.parametrize("kind", KINDS)
def test_caption_legend_and_axes_keep_apart(kind):
    figure = draw(kind)
    figure.draw_without_rendering()
    (caption,) = [text for text in figure.texts if text.get_text().startswith("a model")]
    legends = [legend.get_window_extent() for legend in figure.legends]
    axes = [axis.get_tightbbox() for axis in figure.axes if axis.get_visible()]
    for box in legends:
        assert caption.get_window_extent().y1 <= box.y0 + 1
        assert all(box.y1 <= axis.y0 + 2 for axis in axes if axis is not None)


def test_equal_figures_are_equal_files(tmp_path):
    for name in ("first.png", "second.png"):
        style.save_figure(plots.intervals(rate_table(), **LABELS), tmp_path / name)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_a_notebook_shows_the_figure_without_a_backend():
    content, size = draw("points")._repr_png_()
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert size["width"] < image.width


def test_profile_draws_each_class_and_stream_in_order_of_depth():
    table = profile_table().query("panel == 'cosine'")
    shuffled = table.sample(frac=1, random_state=0)
    figure = plots.profiles(shuffled, title="t", y_labels={"cosine": "Cosine"})
    drawn = lines(figure)
    assert len(drawn) == 4
    for _, rows in table.groupby(["group", "stream"]):
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
    shuffled = shuffled[~((shuffled["row"] == 2) & (shuffled["column"] == 3))]
    figure = plots.matrix(shuffled, title="t", x_label="To", y_label="From", value_label="Nats")
    for axis in figure.axes[:2]:
        grid = shown(axis)
        assert grid.shape == (4, 6)
        assert np.isnan(grid[2, 3])
        assert grid[3, 0] == 3
        assert grid[0, 5] == -5
    norm = figure.axes[0].images[0].norm
    assert (norm.vmin, norm(0.0), norm.vmax) == (-5, 0.5, 5)


def shown(axis) -> np.ndarray:
    image = axis.images[0].get_array()
    assert image is not None
    return np.ma.filled(image.astype(float), np.nan)


def test_cells_that_the_null_reaches_are_grey_and_sections_are_named():
    table = grid_table().query("panel == 'a'").drop(columns="panel")
    table = table.assign(
        reached=table["value"] <= 0, section=np.where(table["row"] < 2, "few", "many")
    )
    figure = plots.matrix(
        table, title="t", x_label="To", y_label="From", value_label="Nats", annotate=True
    )
    axis = figure.axes[0]
    assert (np.isnan(shown(axis)) == (np.arange(4)[:, None] <= np.arange(6))).all()
    texts = [text.get_text() for text in axis.texts]
    assert [text for text in texts if text in ("few", "many")] == ["few", "many"]
    assert "3.00" in texts
    assert "\N{MINUS SIGN}5.00" not in texts


def test_a_matrix_of_many_layers_names_some_columns_and_every_named_row():
    layers = [*map(str, range(1, 24)), "null"]
    rows = [(s, t, 1.0) for s in layers for t in layers]
    table = pd.DataFrame(rows, columns=["row", "column", "value"])
    figure = plots.matrix(
        table, labels={"null": "null, 95th"},
        title="t", x_label="To", y_label="From", value_label="Nats",
    )  # fmt: skip
    columns, rows = (
        [label.get_text() for label in labels]
        for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels())
    )
    assert columns == [*map(str, range(1, 24, 2)), "null, 95th"]
    assert rows == [*layers[:-1], "null, 95th"]
    assert figure.axes[0].get_xticks().tolist() == [*range(0, 23, 2), 23]


def test_doses_have_a_panel_per_place_and_the_null_in_each():
    table = curve_table()
    table = table.assign(panel=np.where(table["group"] == "add", "norms", "source"))
    figure = plots.doses(
        table, labels={"source": "at the source"}, title="t", x_label="KL", y_label="Nats"
    )
    null = table.loc[table["null"], "damage"]
    assert [axis.get_title() for axis in figure.axes] == ["norms", "at the source"]
    for axis, op in zip(figure.axes, ("add", "rotate"), strict=True):
        drawn = [np.asarray(line.get_xdata()) for line in axis.lines]
        assert any(np.array_equal(at, null) for at in drawn)
        assert any(np.array_equal(at, table.loc[table["group"] == op, "damage"]) for at in drawn)


def test_doses_are_joined_in_order_and_named_and_nulls_are_grey():
    figure = draw("doses")
    table = curve_table()
    null = table[table["null"]]
    drawn = lines(figure)
    assert np.array_equal(drawn[0][0], null["damage"])
    assert figure.axes[0].lines[0].get_color() == style.NULL_GREY
    rotate = table[table["group"] == "rotate"]
    assert any(np.array_equal(y, rotate["effect"]) for _, y in drawn[1:])
    assert "random directions" in legend(figure)
    assert "r1" not in legend(figure)
    named = [text.get_text() for text in figure.axes[0].texts]
    assert named == [f"{dose}" for dose in range(8)] * 2


def test_intervals_put_points_and_intervals_on_their_row():
    figure = draw("intervals")
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["harmful", "harmless"]
    base, ablated = axis.lines
    assert np.array_equal(base.get_xdata(), [0.6, 0.05])
    assert np.array_equal(ablated.get_xdata(), [0.1, 0.02])
    assert (np.round(np.asarray(ablated.get_ydata())) == [0, 1]).all()
    assert base.get_color() == style.BLACK
    bars = [patch.get_width() for patch in axis.patches if np.isfinite(patch.get_width())]
    assert np.allclose(sorted(bars), [0.1, 0.15])
    assert [text.get_text() for text in axis.texts] == ["base", "base", "ablated", "ablated"]


def test_bars_of_one_label_stand_together_and_carry_their_marks():
    figure = draw("bars")
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [2.6, 2.4]
    first, second = (patch.get_y() for patch in figure.axes[0].patches)
    assert 0 < second - first < 1
    marks = [float(x[0]) for x, _ in lines(figure)]
    np.testing.assert_array_equal(marks, [2.5, 3.0, np.nan, 3.0])
    assert legend(figure) == ["bridge", "plain", "body", "target", "best possible"]


def test_angles_close_the_circle():
    figure = draw("angles")
    assert figure.axes[0].get_xlim() == (0, 360)
    curves = [(x, y) for x, y in lines(figure) if len(x) > 2]
    assert curves
    for x, y in curves:
        assert (x[0], x[-1]) == (0, 360)
        assert y[0] == y[-1]


def test_a_strip_shows_every_draw_and_the_effect():
    figure = draw("strip")
    table = null_table()
    points = np.concatenate([x for x, _ in lines(figure) if len(x) == 30])
    assert len(points) == len(table) - 1
    assert any(np.array_equal(x, [4.0, 4.0]) for x, _ in lines(figure))


def test_a_polar_plot_shows_what_is_negative_and_the_unedited_model():
    table = curve_table().assign(value=lambda t: -t["value"])
    axis = plots.polar(table, title="t").axes[0]
    assert axis.get_ylim()[0] < table["value"].to_numpy().min()
    assert any((np.asarray(line.get_ydata()) == 0).all() for line in axis.lines)
    rates = plots.polar(table.assign(value=0.5), title="t", limits=(0.0, 1.0)).axes[0]
    assert rates.get_ylim() == (0.0, 1.0)


def test_states_have_a_panel_per_layer_and_answers_are_cut():
    figure = draw("states")
    assert [axis.get_title() for axis in figure.axes[:6]] == [f"layer {k}" for k in range(6)]
    assert all(len(axis.lines) == 2 for axis in figure.axes[:6])
    cells = draw("answers").axes[0].tables[0].get_celld()
    assert cells[1, 1].get_text().get_text().endswith("...")
    assert cells[2, 1].get_text().get_text() == "So."


def test_a_title_is_one_finding_in_two_lines_and_a_caption_wraps():
    two = "Every word of a finding must be read in the figure, and this one takes two lines of it"
    long = f"{two}; " * 3
    figure = plots.strip(null_table(), title=two, caption=long, x_label="Nats")
    assert figure.get_suptitle().count("\n") == 1
    assert figure.get_suptitle().split() == two.split()
    assert " ".join(figure.texts[-1].get_text().split()) == long.strip()
    with pytest.raises(DataError, match="more than 2 lines"):
        plots.strip(null_table(), title=long, x_label="Nats")


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.profiles(profile_table().drop(columns="value"), title="", y_labels=PANELS),
        lambda: plots.profiles(profile_table(), title="", y_labels={"slope": "Slope"}),
        lambda: plots.intervals(rate_table()[:0], **LABELS),
        lambda: plots.strip(null_table()[1:], **LABELS),
        lambda: plots.points(
            pd.DataFrame({"x": range(12), "y": range(12), "group": range(12)}),
            title="", x_label="", y_label="",
        ),
        lambda: plots.answers(
            pd.concat([answers_table()] * 5), columns=["prompt", "base"], title=""
        ),
    ],
    ids=["column", "panel", "empty", "no effect", "too many colours", "too many rows"],
)  # fmt: skip
def test_tables_that_cannot_be_drawn_are_named(call):
    with pytest.raises(DataError):
        call()
