"""What waits, for `jzb work` where no service answers: read from the books, by the code of WorkService."""

from __future__ import annotations

from jzb.v1 import work_pb2
from service.process.inquiries import books
from service.process.queue import WORK_MAX
from service.rpc import work
from service.settings import resolver_from_environment


async def in_books(dsn: str, platform: str, wanted: work_pb2.ListWorkRequest) -> work_pb2.ListWorkResponse:
    """The oldest of what waits and the sums, without what a service could not collect: it alone knows that.

    Raises `LedgerError`.
    """
    async with books(dsn, platform) as (reads, _):
        when = work.patience(resolver_from_environment())
        items, sums = await reads.first_work(work.wanted_of(wanted), when, limit=WORK_MAX)
        return work_pb2.ListWorkResponse(
            items=[work.message_of(one) for one in items], sums=[work.sum_of(*one) for one in sums.items()]
        )
