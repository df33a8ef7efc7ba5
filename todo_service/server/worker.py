"""The gunicorn worker."""

import signal

from aiohttp.worker import GunicornUVLoopWebWorker


class Worker(GunicornUVLoopWebWorker):
    """aiohttp's worker, which can also be stopped while it starts.

    uvloop ignores a signal that arrives before its loop runs. Then a service that was stopped just after its start took
    23 s to stop, until gunicorn's timeout, rather than 1 s.
    """

    def run(self) -> None:
        # uvloop would close gunicorn's listeners twice, which gunicorn logs as an error. It closes plain sockets once.
        self.sockets = [listener.sock for listener in self.sockets]  # type: ignore[attr-defined]
        super().run()

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
