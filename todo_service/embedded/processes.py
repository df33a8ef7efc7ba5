"""Child processes that always end with this process, and stop signals that are blocked until a safe moment."""

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
"""How to stop a child: signals, each with the seconds to wait before the next signal. KILL follows the last one."""


@contextmanager
def run_child(command: Sequence[str], stop: Stop, **arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a child, and stops it at the end. It has its own session, so that Ctrl-C signals only this process."""
    with warnings.catch_warnings():
        # Python warns that a fork may deadlock while there are other threads. But the child's function takes no lock.
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
        # If no process is left, Linux raises ProcessLookupError, and macOS raises PermissionError.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_with_parent(number: signal.Signals) -> Callable[[], None]:
    """Returns a function that the child runs after the change of user, because that change would undo the prctl."""
    parent = os.getpid()
    library = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if library is not None:
            library.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
            if os.getppid() != parent:  # the parent died before the prctl
                os._exit(1)

    return prepare


@contextmanager
def signals_held() -> Iterator[None]:
    """Blocks STOP_SIGNALS. If a signal is pending, `pause` and `check_signals` raise KeyboardInterrupt.

    A signal handler would raise at any place in the code, and could leave a child half started or a lock taken.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with SIGINT ignored
    held = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # this process is stopping anyway
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def check_signals() -> None:
    """Raises KeyboardInterrupt if one of STOP_SIGNALS is pending. Skips ignored signals: nohup ignores SIGHUP."""
    if any(signal.getsignal(number) != signal.SIG_IGN for number in signal.sigpending() & set(STOP_SIGNALS)):
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleeps, then checks for signals."""
    time.sleep(seconds)
    check_signals()
