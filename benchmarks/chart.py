"""The chart: requests per second of each service, as an SVG that is the same whenever the figures are."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.rounds import Table

COLOURS = ("#009e73", "#56b4e9", "#e69f00", "#cc79a7")
"""Ours first. From the palette of Okabe and Ito, which colour-blind people can tell apart."""

INK, PAPER = "#24292f", "#ffffff"  # a ground of its own: readable on dark pages too

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "todo-service",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#8c959f",
    "xtick.color": INK,
    "ytick.color": INK,
}


def draw(table: Table, path: Path) -> None:
    """One panel for each number of connections."""
    panels = list(dict.fromkeys(connections for _, connections in table.cases))
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15)
        figure = Figure(figsize=(9, 4 * len(panels)), facecolor=PAPER, layout=layout)
        grid = figure.subplots(len(panels), 1, sharey=True, squeeze=False)
        for axes, connections in zip(grid.flat, panels, strict=True):
            _draw_panel(axes, table, connections)
        handles = grid.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=len(table.names), frameon=False)
        metadata = {"Date": None, "Creator": None, "Title": "Requests per second of each service"}
        figure.savefig(path, format="svg", metadata=metadata)


def _draw_panel(axes: Axes, table: Table, connections: int) -> None:
    """One group of bars for each workload."""
    workloads = list(dict.fromkeys(workload for workload, _ in table.cases))
    width = 0.84 / len(table.names)
    for number, name in enumerate(table.names):
        rates = [table.rate((workload, connections), name) for workload in workloads]
        places = [group + (number - (len(table.names) - 1) / 2) * width for group in range(len(workloads))]
        bars = axes.bar(places, rates, width * 0.94, label=name, color=COLOURS[number % len(COLOURS)])
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2, fontsize=9)
    axes.set_title(f"{connections} connections", loc="left", fontweight="bold")
    axes.set_xticks(range(len(workloads)), workloads)
    axes.set_ylabel("requests per second (more is better)")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.1)
