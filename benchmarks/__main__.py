"""The command: what is measured, in which order, and where the report goes."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import chart, report
from benchmarks.load import WORKLOADS, LoadError
from benchmarks.rounds import Plan
from benchmarks.stages import PARTS, Choice, measure_all
from todo_service.embedded.postgres import EmbeddedError
from todo_service.embedded.processes import STOP_SIGNALS

THOROUGH, QUICK = Plan(seconds=5, rounds=3), Plan(seconds=1, rounds=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the report and returns the exit status: 1 with a sentence on stderr when it can't be done."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and "rates" not in options.part:
        parser.error("--write needs the rates")
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)  # so that whatever stops us, all that was started ends
    console = Console(width=None if sys.stdout.isatty() else 140)
    columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, console=console) as progress:
            results = measure_all(_choice(options), progress)
    except (LoadError, EmbeddedError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    console.print(Markdown(report.to_markdown(results)))
    if options.write:
        report.write(results)
        chart.draw(next(iter(results.tables.values())), report.CHART)
    return 0


def _choice(options: argparse.Namespace) -> Choice:
    plan = QUICK if options.quick else THOROUGH
    return Choice(
        plan=Plan(options.seconds or plan.seconds, options.rounds or plan.rounds),
        processes=options.processes or ([1] if options.quick else [1, 2]),
        cases=[(workload, connections) for workload in options.workload for connections in options.connections],
        parts=options.part,
        only=options.only,
        checkouts=options.beside,
        pool=options.pool,
        environment=dict(pair.partition("=")[::2] for pair in options.env),
        binaries=options.binaries,
        many_rows=not options.quick,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures this service beside its peers, on a PostgreSQL of its own. Lists are comma-separated.",
    )
    option = parser.add_argument
    option("--quick", action="store_true", help="one short round, one process, and no table of 2,000,000 rows")
    option("--rounds", type=int, metavar="N", help=f"how many (default: {THOROUGH.rounds})")
    option("--seconds", type=int, metavar="N", help=f"of each run (default: {THOROUGH.seconds})")
    option("--processes", type=_numbers, metavar="LIST", help="of each competitor (default: 1,2)")
    option("--connections", type=_numbers, default=[32, 128], metavar="LIST", help="of wrk (default: 32,128)")
    option("--workload", type=_some(*WORKLOADS), default=[*WORKLOADS], metavar="LIST", help=f"of {','.join(WORKLOADS)}")
    option("--part", type=_some(*PARTS), default=[*PARTS], metavar="LIST", help=f"of {','.join(PARTS)}")
    option("--only", type=_words, default=[], metavar="LIST", help="competitors, by a part of their names")
    option(
        "--beside",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="another checkout of this service, too, on a database of its own",
    )
    option(
        "--pool", type=int, metavar="N", help="database connections of each process (default: what is best for each)"
    )
    option("--env", action="append", default=[], metavar="NAME=VALUE", help="a setting of this service, for the rates")
    option(
        "--binaries", type=Path, metavar="FOLDER", help="another PostgreSQL's programs, like /usr/lib/postgresql/15/bin"
    )
    option("--write", action="store_true", help="write docs/performance.md and docs/performance.svg")
    return parser


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _words(text)]


def _some(*known: str) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        if unknown := set(_words(text)) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is none of {', '.join(known)}")
        return _words(text)

    return read


if __name__ == "__main__":
    sys.exit(main())
