"""The gunicorn worker."""

import signal

from aiohttp.worker import GunicornUVLoopWebWorker


class Worker(GunicornUVLoopWebWorker):
    """aiohttp's, but one that can be told to stop while it is starting.

    uvloop forgets a signal that comes before the loop runs: whoever stopped a service that had just been started
    waited until gunicorn lost patience (23 s rather than 1).
    """

    def run(self) -> None:
        # uvloop would close gunicorn's listeners twice, which gunicorn logs as an error; plain sockets it closes once.
        self.sockets = [listener.sock for listener in self.sockets]  # type: ignore[attr-defined]
        super().run()

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGTERM, self.handle_exit)
        signal.signal(signal.SIGINT, self.handle_quit)
        signal.signal(signal.SIGQUIT, self.handle_quit)
