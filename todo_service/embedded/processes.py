"""Children that end with us, whatever ends us, and signals that wait until we can stop in order."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1

Stop = tuple[tuple[signal.Signals, float], ...]
"""How to stop a child: signals, each with the seconds to wait for its effect before the next; in the end, KILL."""


@contextmanager
def run_child(command: Sequence[str], stop: Stop, **arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, so that Ctrl-C reaches only us; stopped by `stop`: signals, seconds to wait."""
    with warnings.catch_warnings():
        # Python warns of forking with threads around; what runs in the child takes no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603
            command,
            start_new_session=True,
            preexec_fn=_end_with_parent(stop[0][0] if stop else signal.SIGKILL),  # noqa: PLW1509
            **arguments,
        )
    try:
        yield process
    finally:
        for number, seconds in stop:
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # none left; macOS says the latter
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_with_parent(number: signal.Signals) -> Callable[[], None]:
    """What a child does before it becomes its program, after the change of user, which would undo the prctl."""
    parent = os.getpid()
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if library is not None:
            library.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
            if os.getppid() != parent:  # it died before it could be noticed
                os._exit(1)

    return prepare


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals that ask us to stop stay pending, until `pause` or `check_signals` raises KeyboardInterrupt for them.

    A handler would raise in the middle of anything, and could leave a child half started or a lock taken.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
    held = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # we are stopping: none of those that are pending adds to that
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def check_signals() -> None:
    """Raises KeyboardInterrupt if a signal that asks us to stop is pending; nohup's choice counts."""
    if any(signal.getsignal(number) != signal.SIG_IGN for number in signal.sigpending() & set(STOP_SIGNALS)):
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleeps, then checks for signals."""
    time.sleep(seconds)
    check_signals()
