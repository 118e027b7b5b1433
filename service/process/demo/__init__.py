"""A small marketplace's day, played from outside: only gRPC calls, as any client would make them. Where the sandbox
bank's address is known, others act at the bank in between: an order is acquired, a card's bank returns money, a
stranger makes a transfer.

Every step prints what it did and the balances it moved. The last night is cleared, too, so that the bank has its files
of both days. The trial balance, which sums to zero, and the comparison of every sub-account with the bank's own answer
come last. The sandbox bank is asked for a lost answer by a
directive in a remark; a real bank reads it as text.
"""

from __future__ import annotations

import grpc

from service.process.client import channel_to
from service.process.demo import at_bank, books, day
from service.process.demo.client import Client

__all__ = ["run_demo"]


async def run_demo(
    target: str,
    sandbox_url: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    options: str = "",
) -> int:
    """Play the day against the service at ``target`` (host:port), in plaintext unless there are credentials. With
    ``options`` a command reaches the same service: it is printed with them.

    Returns the exit status: 1 when a balance differs.
    """
    async with channel_to(target, credentials) as channel:
        client = Client(channel)
        await day.money_comes_in(client)
        await day.goods_are_sold(client)
        if sandbox_url is not None:
            await at_bank.an_acquired_order_is_missed(client, sandbox_url)
        await day.the_night_clears(client)
        await day.money_is_frozen(client)
        withdrawal = await day.money_goes_out(client)
        await day.an_answer_is_lost(client)
        await day.a_request_is_repeated(client)
        await day.the_withdrawal_ends(client, withdrawal)
        if sandbox_url is not None:
            await at_bank.the_withdrawal_comes_back(client, sandbox_url, withdrawal)
            await at_bank.money_is_found_in_suspense(client, sandbox_url)
        await day.the_last_night_clears(client)
        status = await books.compare(client)
        day.say_how_the_days_are_closed(client, options)
        return status
