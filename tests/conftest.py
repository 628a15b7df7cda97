"""What all tests run in."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Lets signals end what they end elsewhere.

    A shell has its background jobs ignore SIGINT, and nohup SIGHUP; what tests start would inherit that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
