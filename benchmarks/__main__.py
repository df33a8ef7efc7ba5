"""The command line: `python -m benchmarks --help`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import BenchmarkError, chart, report
from benchmarks.comparison import Options, compare
from benchmarks.load import WORKLOADS
from todo_service.embedded import EmbeddedError
from todo_service.embedded.processes import STOP_SIGNALS

DESCRIPTION = """\
Compares this service with the same API in Go, Node and FastAPI, and with pgbench, on a PostgreSQL
of its own. Prints a report. With the defaults this takes 25 minutes.
"""

EXAMPLES = """\
examples:
  python -m benchmarks --only todo go --workload list     # lists: this service and Go
  python -m benchmarks --only todo --beside ../before --processes 1 --rounds 21 --seconds 1  # beside a checkout
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the report. Returns the exit status: 1, with a message on stderr, if the comparison fails."""
    options = _parser().parse_args(arguments, Options())
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # its exception stops all processes
    try:
        results = compare(options)
    except (BenchmarkError, EmbeddedError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    sections = report.to_sections(results, options.rounds, options.seconds)
    print("\n\n".join(sections.values()))
    if options.write:
        report.write(sections)
        chart.draw(results[0], report.CHART)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--rounds", type=int, metavar="N", help="number of runs of each case (default: 3)")
    option("--seconds", type=int, metavar="N", help="duration of each run (default: 5)")
    option("--processes", type=int, nargs="+", metavar="N", help="of each service (default: 1, then 1 per core)")
    option("--workload", nargs="+", choices=WORKLOADS, metavar="NAME", help=f"{', '.join(WORKLOADS)} (default: all)")
    option("--connections", type=int, nargs="+", metavar="N", help="of wrk (default: 32 128)")
    option("--only", nargs="+", metavar="WORD", help="only services (or pgbench) whose name contains a WORD")
    option("--beside", type=Path, nargs="+", metavar="FOLDER", help="compare with other checkouts of this service")
    option("--env", nargs="+", metavar="NAME=VALUE", help="settings of this service and of the checkouts")
    option("--binaries", type=Path, metavar="FOLDER", help="of PostgreSQL, e.g. /usr/lib/postgresql/15/bin")
    option("--write", action="store_true", help="also write the report and the chart to docs/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
