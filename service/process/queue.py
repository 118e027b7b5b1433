"""`jzb work`: what waits for a person or for the bank, as a running service has it.

A client of WorkService. Where no service answers, `service.process.waiting` reads the books. What a service
could not collect only it knows, so it is asked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import grpc
from rich.table import Table

from bankclient import yuan
from jzb.v1 import core_pb2, work_pb2, work_pb2_grpc
from service.process.client import bank_time, channel_to
from service.process.terminal import table

WORK_MAX: Final = 200
"""Items of the queue; the oldest."""

ANSWER_S: Final = 10.0
"""How long a service may take to answer."""


def _word(kind: work_pb2.WorkKind.ValueType) -> str:
    return work_pb2.WorkKind.Name(kind).removeprefix("WORK_KIND_").lower().replace("_", "-")


KINDS: Final = {
    _word(kind): kind
    for kind in sorted(work_pb2.WorkKind.values()[1:], key=lambda kind: kind == work_pb2.WORK_KIND_COLLECTION)
}
"""As the command line has them. What could not be collected is last: it is in no table."""


def wanted_work(kinds: Iterable[str], owner: str | None) -> work_pb2.ListWorkRequest:
    """What the command line wants of the queue: these kinds, in these hands; an empty owner is nobody."""
    return work_pb2.ListWorkRequest(
        page_size=WORK_MAX,
        kinds=[KINDS[kind] for kind in kinds],
        owner=owner or "",
        unassigned=owner == "",
    )


async def read(
    target: str, credentials: grpc.ChannelCredentials | None, wanted: work_pb2.ListWorkRequest
) -> work_pb2.ListWorkResponse | None:
    """The oldest of what waits and the sums of all of it, as a service has them; None where no service answers. Raises
    gRPC's errors.
    """
    async with channel_to(target, credentials) as channel:
        try:
            found: work_pb2.ListWorkResponse = await work_pb2_grpc.WorkServiceStub(channel).ListWork(
                wanted, timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return None
            raise
        return found


def work_table(items: Iterable[work_pb2.WorkItem]) -> Table:
    """What waits, a row each."""
    shown = table("kind", "yuan", "age", "owner", "what", "why", "next", "a person may", "notes")
    for one in items:
        at = f" at {bank_time(one.next_time)[:-3]}" if one.HasField("next_time") and one.next_step else ""
        operation = core_pb2.OperationKind.Name(one.operation_kind).removeprefix("OPERATION_KIND_")
        shown.add_row(
            _word(one.kind),
            yuan(one.amount_fen),
            _age(one.age_s),
            one.owner,
            " ".join(filter(None, (one.work_id, operation if one.operation_kind else "", one.subject))),
            one.detail,
            f"{one.next_step}{at}",
            ", ".join(action.rpartition("/")[2] for action in one.actions),
            "; ".join(note.note for note in one.notes if note.note),
        )
    return shown


def sums_table(sums: Sequence[work_pb2.WorkSum]) -> Table:
    """How much waits, by kind, and all together."""
    shown = table("kind", "items", "yuan", "oldest")
    for one in sorted(sums, key=lambda found: -found.oldest_age_s):
        shown.add_row(_word(one.kind), str(one.count), yuan(one.amount_fen), _age(one.oldest_age_s))
    total = sum(one.amount_fen for one in sums)
    shown.add_row("together", str(sum(one.count for one in sums)), yuan(total), "")
    return shown


def _age(age_s: float) -> str:
    minutes = int(age_s // 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"
