"""How all figures look: on white, serif, colours that colour-blind readers can tell apart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS: Final = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6b6b6b", "#8c6d31",
    "#7a5195", "#2f4b7c",
)  # fmt: skip
"""After Okabe and Ito (2008), and greys and browns for those that matter less."""
OURS: Final = COLOURS[0]
THEIRS: Final = COLOURS[1]
GREY: Final = "#8a8a8a"
STYLE: Final[dict[Any, Any]] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "svg.fonttype": "path",
    "svg.hashsalt": "flopex",
}


def panels(
    count: int = 1, width: float = 6.2, height: float = 3.7, rows: int = 1, **settings: Any
) -> Any:
    """A figure with panels beside each other, in one row or more: (figure, list of axes)."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, -(-count // rows), squeeze=False, **settings)
    return figure, list(axes.ravel())[:count]


def named(axes: Any, x: str, y: str, title: str = "") -> None:
    """Names of the axes and of the panel."""
    with mpl.rc_context(STYLE):
        axes.set(xlabel=x, ylabel=y)
        if title:
            axes.set_title(title, loc="left")


def legend(axes: Any, **settings: Any) -> None:
    """A legend in the common style."""
    with mpl.rc_context(STYLE):
        axes.legend(**settings)


def shared_legend(figure: Any, axes: Any, columns: int) -> None:
    """One legend below all panels, of what one of them shows."""
    with mpl.rc_context(STYLE):
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def line(
    axes: Any,
    xs: Sequence[float],
    figures: Sequence[tuple[float, float, float]],
    label: str,
    colour: str,
    **style: Any,
) -> None:
    """Means joined by a line, with their intervals as bars."""
    means = [mean for mean, _, _ in figures]
    below = [max(mean - low, 0) for mean, low, _ in figures]
    above = [max(high - mean, 0) for mean, _, high in figures]
    axes.errorbar(
        xs, means, (below, above), label=label, color=colour, marker="o", capsize=2.5,
        elinewidth=1, **style,
    )  # fmt: skip


def threshold(axes: Any, at: float, text: str) -> None:
    """A dashed line that a figure must keep to, with its name."""
    axes.axhline(at, color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    with mpl.rc_context(STYLE):
        axes.annotate(
            text, (1, at), (-2, 3), xycoords=("axes fraction", "data"), fontsize=9,
            textcoords="offset points", color="#555555", ha="right",
        )  # fmt: skip


def note(axes: Any, text: str, at: tuple[float, float]) -> None:
    """A small word beside a point."""
    with mpl.rc_context(STYLE):
        axes.annotate(text, at, (5, -11), textcoords="offset points", fontsize=9, color="#555555")


def svg(figure: Figure) -> str:
    """The figure as SVG that stands by itself: no fonts, no date, no outside resource."""
    with mpl.rc_context(STYLE), io.StringIO() as text:
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]
