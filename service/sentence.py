"""Where an operation stands, as one English sentence for people: what `Operation.message` says.

The ledger keeps a detail for a log as the message: "a signed success", "6110 says
TranStatus 2". A person reads what that means for the money first.
"""

from __future__ import annotations

from collections.abc import Sequence

from jzb.v1.names import OperationKind
from ledger import Operation, Part, PartState, State
from service import problems

PLAIN = ("", "a signed success", "a signed refusal")
"""Details that add nothing."""


def sentence(operation: Operation, parts: Sequence[Part]) -> str:
    """Where an operation stands; the same words as the error, where its state is one to its caller."""
    text = _stands(operation, parts)
    return f"{text[:1].upper()}{text[1:]}."


def _stands(operation: Operation, parts: Sequence[Part]) -> str:
    detail = "" if operation.message in PLAIN else f" ({operation.message})"
    if operation.state is State.RESERVED:
        return "it is reserved with what it takes held, and the bank has not answered yet"
    if operation.state is State.ACCEPTED:
        return f"the bank has accepted it and has not ended it yet{detail}"
    if operation.state is State.DONE and " " in operation.request_id:
        # The bank acted on its own: the message says what it did.
        return operation.message or "the bank did it on its own"
    if operation.kind == OperationKind.ADJUSTMENT and operation.state is State.DONE:
        return "it is posted in the books; the bank was not called"
    if operation.state is State.DONE:
        done = {part.order_no for part in parts if part.state is PartState.POSTED}
        # A part that was let go unsent has another of the same order behind it.
        refused = {part.order_no for part in parts if part.state is PartState.VOIDED} - done
        if refused:
            return f"the bank has done {len(done)} of its {len(done | refused)} parts and refused the others"
        return f"the bank has done it{detail}"
    problem = problems.of_operation(operation, parts)
    assert problem is not None, operation.state
    if operation.breach is not None:
        return f"it was refused here, and nothing was sent: {problem.message}"
    return f"{problem.message}{detail if operation.state is State.UNKNOWN else ''}"
