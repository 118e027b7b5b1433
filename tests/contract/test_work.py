"""WorkService: what waits is listed with what a person may do, taken by somebody, and gone when it is settled."""

from __future__ import annotations

import socket
from datetime import UTC

import pytest
from rich.console import Console

from jzb.v1 import core_pb2, operation_pb2, suspense_pb2, work_pb2, work_pb2_grpc
from ledger import WorkKind
from service.contract import methods
from service.inflows import collector
from service.process import queue, waiting
from service.rpc.work import ACTIONS, COLLECT
from tests.world.doubts import IMPATIENT, REST_S, doubtful_payment
from tests.world.marketplace import TIMEOUT_S, Marketplace, open_marketplace
from tests.world.process import until
from tests.world.standby import execute
from tests.world.suspense import come_in, in_suspense


def queue_of(shop: Marketplace) -> work_pb2_grpc.WorkServiceAsyncStub:
    return work_pb2_grpc.WorkServiceStub(shop.channel)


async def listed(shop: Marketplace, **wanted: object) -> work_pb2.ListWorkResponse:
    request = work_pb2.ListWorkRequest(**wanted)  # type: ignore[arg-type]  # by its fields
    answer: work_pb2.ListWorkResponse = await queue_of(shop).ListWork(request, timeout=TIMEOUT_S)
    return answer


async def test_money_in_doubt_and_in_suspense_is_one_queue_until_it_is_settled(database: str) -> None:
    async with open_marketplace(database, bank=IMPATIENT, resolver={"ask_after_s": REST_S}) as shop:
        assert not (await listed(shop)).items
        doubtful = await doubtful_payment(shop, "[[lose_after]]")
        (serial,) = await in_suspense(shop, 40_00)
        answer = await listed(shop)
        doubt, suspense = answer.items
        assert (doubt.kind, doubt.amount_fen, doubt.operation_id) == (
            *(work_pb2.WORK_KIND_IN_DOUBT, 30_00),
            doubtful.operation_id,
        )
        assert (doubt.operation_kind, doubt.operation_state) == (
            core_pb2.OPERATION_KIND_PAY_T1,
            core_pb2.OPERATION_STATE_UNKNOWN,
        )
        assert doubt.since == doubtful.create_time
        assert doubt.next_step == "the service queries the bank"
        assert doubt.next_time.ToDatetime() > doubt.since.ToDatetime()
        assert list(doubt.actions) == ["jzb.v1.OperationService/ResolveOperation"]
        assert (suspense.work_id, suspense.amount_fen, suspense.subject) == (f"suspense:{serial}", 40_00, serial)
        assert not suspense.next_step
        assert {(one.kind, one.count, one.amount_fen) for one in answer.sums} == {
            (work_pb2.WORK_KIND_IN_DOUBT, 1, 30_00),
            (work_pb2.WORK_KIND_SUSPENSE, 1, 40_00),
        }
        first = await listed(shop, page_size=1)
        second = await listed(shop, page_size=1, page_token=first.next_page_token)
        assert [one.work_id for one in (*first.items, *second.items)] == [doubt.work_id, suspense.work_id]
        assert (list(second.sums), second.next_page_token) == ([], "")
        await shop.resolve(doubtful.operation_id)
        assert [one.kind for one in (await listed(shop)).items] == [work_pb2.WORK_KIND_SUSPENSE]
        # The list of suspense alone is a view of the same.
        entries = (await shop.suspense.ListSuspense(suspense_pb2.ListSuspenseRequest(), timeout=TIMEOUT_S)).entries
        assert [(one.transfer_bank_serial, one.remaining_fen) for one in entries] == [(serial, 40_00)]


async def test_an_item_is_taken_and_noted_and_that_stays_in_the_timeline(database: str) -> None:
    async with open_marketplace(database, bank=IMPATIENT, resolver={"ask_after_s": REST_S}) as shop:
        doubtful = await doubtful_payment(shop, "[[lose_after]]")
        await in_suspense(shop, 40_00)
        work_id = f"operation:{doubtful.operation_id}"
        assign = work_pb2.AssignWorkRequest(work_id=work_id, owner="ann")
        note = work_pb2.NoteWorkRequest(work_id=work_id, note="the customer holds card 6222020000000000000")
        await queue_of(shop).AssignWork(assign, timeout=TIMEOUT_S)
        for _ in range(2):
            item = (await queue_of(shop).NoteWork(note, timeout=TIMEOUT_S)).item
        assert (item.owner, [(one.assigns, one.caller) for one in item.notes]) == (
            "ann",
            [(True, "local"), (False, "local")],
        )
        assert "6222020000000000000" not in item.notes[1].note, "what looks personal is not kept"
        assert [one.work_id for one in (await listed(shop, owner="ann")).items] == [work_id]
        assert [one.kind for one in (await listed(shop, unassigned=True)).items] == [work_pb2.WORK_KIND_SUSPENSE]
        await shop.resolve(doubtful.operation_id)
        gone = await shop.refusal(queue_of(shop).NoteWork(note, timeout=TIMEOUT_S))
        assert (gone.reason, gone.metadata["work_id"]) == ("WORK_NOT_FOUND", work_id)
        timeline = operation_pb2.GetTimelineRequest(
            key=operation_pb2.OperationKey(operation_id=doubtful.operation_id), page_size=200
        )
        entries = (await shop.operations.GetTimeline(timeline, timeout=TIMEOUT_S)).entries
        said = [one for one in entries if one.kind == operation_pb2.TIMELINE_KIND_SAID]
        assert [(one.method, one.outcome) for one in said] == [("assigned", "ann"), ("noted", "")]


async def test_what_could_not_be_collected_waits_until_it_is_collected(
    shop: Marketplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.merchant("seller")
    serial = await come_in(shop, 30_00, "seller")
    transfers = shop.service.components.transfers
    with monkeypatch.context() as without:

        async def nobody(_: object) -> dict[str, object]:
            return {}

        without.setattr(transfers._reads, "members_by_sub_account", nobody)
        await transfers.collect_last_days()
        (item,) = (await listed(shop)).items
    assert (item.kind, item.amount_fen, item.subject, item.detail) == (
        *(work_pb2.WORK_KIND_COLLECTION, 30_00),
        *(serial, "MEMBER_UNKNOWN"),
    )
    assert list(item.actions) == ["jzb.v1.SuspenseService/CollectTransfers"]
    # The command shows what the service has.
    target = f"127.0.0.1:{shop.service.port}"
    told = await queue.read(target, None, queue.wanted_work(["collection"], None))
    assert told is not None
    assert [(one.work_id, one.detail) for one in told.items] == [(item.work_id, "MEMBER_UNKNOWN")]
    with (console := Console(width=200)).capture() as shown:
        console.print(queue.work_table(told.items), queue.sums_table(told.sums))
    assert all(word in shown.get() for word in ("collection", "30.00", serial, "MEMBER_UNKNOWN", "CollectTransfers"))
    note = work_pb2.NoteWorkRequest(work_id=item.work_id, note="the member is opened today")
    assert (await queue_of(shop).NoteWork(note, timeout=TIMEOUT_S)).item.notes[0].note == note.note
    await transfers.collect_last_days()
    assert not (await listed(shop)).items
    failing = collector.Failing(item.since.ToDatetime(UTC), "BANK_UNAVAILABLE")
    monkeypatch.setitem(collector._failing, "returns", failing)
    (item,) = (await listed(shop)).items
    assert (item.work_id, item.detail) == ("collection:returns", "BANK_UNAVAILABLE")
    assert list(item.actions) == ["jzb.v1.WithdrawalService/CollectReturns"]


async def test_statements_that_cannot_be_made_wait_like_a_collection_until_they_are_made(shop: Marketplace) -> None:
    async def waits() -> list[str]:
        return [item.work_id for item in (await listed(shop)).items]

    await shop.buyer("buyer", 1_00)
    await execute(shop.dsn, "ALTER TABLE filled RENAME TO filled_away")
    await until(lambda: "statements" in collector.failing(), "the loop of statements fails")
    assert await waits() == ["collection:statements"]
    assert "filled" in (await listed(shop)).items[0].detail
    await execute(shop.dsn, "ALTER TABLE filled_away RENAME TO filled")
    await until(lambda: "statements" not in collector.failing(), "statements are made again")
    assert await waits() == []
    assert collector.ages_s()["statements"] < 60


async def test_without_a_service_the_command_reads_the_books(shop: Marketplace) -> None:
    await in_suspense(shop, 40_00)
    wanted = queue.wanted_work([], None)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert await queue.read(f"127.0.0.1:{nobody.getsockname()[1]}", None, wanted) is None
    platform = shop.service.components.settings.platform
    told = await waiting.in_books(shop.dsn, platform, wanted)
    answer = await listed(shop)
    assert [(one.work_id, one.amount_fen, list(one.actions)) for one in told.items] == [
        (one.work_id, one.amount_fen, list(one.actions)) for one in answer.items
    ]
    assert [(one.kind, one.count) for one in told.sums] == [(one.kind, one.count) for one in answer.sums]


@pytest.mark.parametrize("token", ["x", "LTE"])
async def test_a_token_of_another_list_is_refused(shop: Marketplace, token: str) -> None:
    assert (await shop.refusal(listed(shop, page_token=token))).reason == "PAGE_TOKEN_INVALID"


def test_what_a_person_may_do_are_rpcs_of_the_contract() -> None:
    named = {action for actions in ACTIONS.values() for action in actions} | set(COLLECT.values())
    assert named <= {f"{method.containing_service.full_name}/{method.name}" for method in methods().values()}
    assert ACTIONS.keys() == set(WorkKind) - {WorkKind.COLLECTION}
