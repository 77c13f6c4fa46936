"""Signals: what they raise, when they only are remembered, and what a library may make of them."""

import os
import signal

import pytest

from dlexp.errors import InterruptedRunError
from dlexp.machine.signals import catch_signals


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def send_within_a_library() -> None:
    """As TensorFlow's C++ code does: it turns the error of the handler into its own kind of error."""
    try:
        send()
    except InterruptedRunError as err:
        raise SystemError("returned a result with an exception set") from err


def test_signal_raises_at_once() -> None:
    with pytest.raises(InterruptedRunError, match="SIGTERM"), catch_signals():
        send()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_deferred_signal_is_remembered_until_it_is_checked() -> None:
    with catch_signals() as requests:
        with requests.defer():
            send()
        with pytest.raises(InterruptedRunError, match="SIGTERM"):
            requests.check()


def test_signal_that_a_library_turned_into_another_error_is_still_an_interruption() -> None:
    with pytest.raises(InterruptedRunError, match="SIGTERM"), catch_signals():
        send_within_a_library()


def test_the_same_holds_where_signals_are_allowed_within_a_deferring_block() -> None:
    with catch_signals() as requests, requests.defer():
        with pytest.raises(InterruptedRunError), requests.allow():
            send_within_a_library()
        assert requests.deferred


def fail_after_a_signal() -> None:
    send()
    raise OSError("disk full")


def test_error_after_a_deferred_signal_stays_what_it_is() -> None:
    with pytest.raises(OSError, match="disk full"), catch_signals() as requests, requests.defer():
        fail_after_a_signal()


def test_error_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(ValueError, match="wrong"), catch_signals():
        raise ValueError("wrong")
