"""The chart: requests per second of each service, as an SVG that only changes with the figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.results import Results

COLOURS = ("#009e73", "#f0e442", "#56b4e9", "#e69f00", "#cc79a7")
"""For the services, in their order. From the palette of Okabe and Ito, which colour-blind people can tell apart."""

STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "todo-service"}


def draw(all_results: Sequence[Results], path: Path) -> None:
    """One panel for each number of processes, with the largest number of connections."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4 * len(all_results)), layout="constrained")  # white, to be readable on dark pages
        grid = figure.subplots(len(all_results), 1, sharey=True, squeeze=False)
        for axes, results in zip(grid.flat, all_results, strict=True):
            _draw_panel(axes, results)
        figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        metadata = {"Date": None, "Creator": None, "Title": "Requests per second of each service"}
        figure.savefig(path, format="svg", metadata=metadata)


def _draw_panel(axes: Axes, results: Results) -> None:
    """One group of bars for each workload."""
    connections = max(connections for _, connections in results.cases)
    cases = [case for case in results.cases if case[1] == connections]
    width = 0.84 / len(results.services)
    for number, service in enumerate(results.services):
        rates = [results.median(service.name, case).rate for case in cases]
        places = [group + (number - (len(results.services) - 1) / 2) * width for group in range(len(cases))]
        bars = axes.bar(places, rates, width * 0.94, label=service.name, color=COLOURS[number % len(COLOURS)])
        axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2, fontsize=8)
    axes.set_title(f"{results.title}, {connections} connections", loc="left", fontweight="bold")
    axes.set_xticks(range(len(cases)), [workload for workload, _ in cases])
    axes.set_ylabel("requests per second")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.1)
