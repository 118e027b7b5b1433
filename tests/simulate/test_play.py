"""What a service may log while it is broken, and what is a fault of its own."""

from __future__ import annotations

import traceback

import pytest

from simulate.play import surprises


def _logged(error: Exception) -> str:
    """A line of the log, as the service renders it."""
    try:
        raise error
    except Exception:
        return f"event='it happened' level='error' exception={traceback.format_exc()!r}\n"


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError("gone"), OSError(5, "no disk")])
def test_the_absence_of_the_bank_or_the_database_is_no_surprise(error: Exception) -> None:
    assert surprises(_logged(error)) == []


@pytest.mark.parametrize("error", [KeyError("x"), ValueError(), ExceptionGroup("two", [TimeoutError(), KeyError("x")])])
def test_any_other_error_is_one_by_its_name(error: Exception) -> None:
    (told,) = surprises(_logged(error))
    assert "KeyError" in told or "ValueError" in told


def test_that_a_caller_had_left_is_no_surprise_and_is_logged_by_grpc_in_lines_of_its_own() -> None:
    told = (
        "event='before' level='warning'\nUnexpected error raised\nTraceback (most recent call last):\n"
        '  File "server.pyx.pxi", line 710, in _handle_exceptions\n'
        'grpc._cython.cygrpc.ExecuteBatchError: Failed "execute_batch"\n'
    )
    assert surprises(told) == []
    assert surprises(told.replace("grpc._cython.cygrpc.ExecuteBatchError", "KeyError")) != []


def test_a_traceback_that_cannot_be_read_is_told_with_its_end() -> None:
    (told,) = surprises("event='it happened' exception='Traceback (most recent call last):\\n  File x")
    assert "cannot be read" in told
    assert "File x" in told
