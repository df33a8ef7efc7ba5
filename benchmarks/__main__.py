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
Measures this service beside the same API in Go, Node and FastAPI, and beside pgbench, on a
PostgreSQL of its own, and prints a report. With the defaults this takes 25 minutes.
"""

EXAMPLES = """\
examples:
  python -m benchmarks --only todo go --workload list        lists, of this service and of Go
  python -m benchmarks --only todo --beside ../before --processes 1 --rounds 21 --seconds 1
                                                             a change, beside a checkout without it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and prints the report. Returns the exit status: 1 with a sentence on stderr if that is impossible."""
    options = _parser().parse_args(arguments, Options())
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # so that everything that was started is stopped
    try:
        results = compare(options)
    except (BenchmarkError, EmbeddedError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    section = report.to_markdown(results, options.rounds, options.seconds)
    print(section)
    if options.write:
        report.write(section)
        chart.draw(results, report.CHART)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--rounds", type=int, metavar="N", help="how often each service is measured (default: 3)")
    option("--seconds", type=int, metavar="N", help="duration of each run (default: 5)")
    option("--processes", type=int, nargs="+", metavar="N", help="of each service (default: 1, then one for each core)")
    option("--workload", nargs="+", choices=WORKLOADS, metavar="NAME", help=f"{', '.join(WORKLOADS)} (default: all)")
    option("--connections", type=int, nargs="+", metavar="N", help="of wrk (default: 32 128)")
    option("--only", nargs="+", metavar="WORD", help="services, or pgbench, whose names contain such a word")
    option("--beside", type=Path, nargs="+", metavar="FOLDER", help="also other checkouts of this service")
    option("--env", nargs="+", metavar="NAME=VALUE", help="settings of this service and its checkouts")
    option("--binaries", type=Path, metavar="FOLDER", help="PostgreSQL's programs, e.g. /usr/lib/postgresql/15/bin")
    option("--write", action="store_true", help="write the report and its chart to docs/, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
