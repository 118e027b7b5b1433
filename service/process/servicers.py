"""The servicers: one a service of the contract, each given what it uses, and no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import grpc

from service.catalogue.interfaces import APPROVAL
from service.contract import methods, path_of
from service.path.carrying import Carrying
from service.path.parties import Parties
from service.process.components import Components
from service.questions.top_up_reading import TopUpReading
from service.rpc.acquiring import AcquiringRpc
from service.rpc.adjustments import Adjustments
from service.rpc.approvals import Approvals
from service.rpc.balances import Balances
from service.rpc.batches import Batches
from service.rpc.cards import CardsRpc
from service.rpc.clearings import Clearings
from service.rpc.facts import AccountNames, CardFacts, MemberFacts
from service.rpc.files import Files
from service.rpc.freezes import Freezes
from service.rpc.members import Members
from service.rpc.operations import Operations
from service.rpc.payments import Payments
from service.rpc.reconciliations import Reconciliations
from service.rpc.refunds import Refunds
from service.rpc.statements import Statements
from service.rpc.suspense import Suspense
from service.rpc.topups import TopUps
from service.rpc.verifications import Verifications
from service.rpc.withdrawals import Withdrawals
from service.rpc.work import WorkRpc


def register(server: grpc.aio.Server, components: Components, carrying: Carrying) -> list[str]:
    """Have the server answer every service of the contract; returns their full names.

    What can be proposed is carried out by the same servicers.
    """
    services = []
    for servicer in (*_servicers(components), _approvals(components, carrying)):
        # Each derives from the class that gRPC made of its service.
        (generated,) = type(servicer).__bases__
        add = getattr(sys.modules[generated.__module__], f"add_{generated.__name__}_to_server")
        add(servicer, server)
        name = f"jzb.v1.{generated.__name__.removesuffix('Servicer')}"
        services.append(name)
        for method in methods().values():
            if method.containing_service.full_name == name and APPROVAL in method.input_type.fields_by_name:
                carrying.handlers[path_of(method)] = getattr(servicer, method.name)
    return services


def _approvals(given: Components, carrying: Carrying) -> object:
    return Approvals(store=given.proposals, proposing=given.proposing, carrying=carrying)


def _servicers(given: Components) -> Iterator[object]:
    runner, reads, bank, settings = given.runner, given.reads, given.bank, given.settings
    rules, platform = settings.rules, settings.platform
    parties = Parties(reads, settings)
    members, card_facts, names = MemberFacts(reads), CardFacts(given.cards, given.vault), AccountNames(bank)
    yield Members(
        runner=runner,
        reads=reads,
        bank=bank,
        new_serial=given.new_serial,
        members=members,
        card_facts=card_facts,
        parties=parties,
    )
    yield CardsRpc(
        runner=runner,
        bank=bank,
        repeats=given.repeats,
        card_list=given.card_list,
        cards=given.cards,
        vault=given.vault,
        members=members,
        card_facts=card_facts,
        parties=parties,
        limits=settings.cards,
    )
    yield TopUps(runner=runner, reads=reads, members=members, rules=rules, reading=TopUpReading(reads, bank, rules))
    yield AcquiringRpc(
        runner=runner, reads=reads, bank=bank, members=members, names=names, rules=rules, platform=platform
    )
    yield Verifications(bank=bank, new_serial=given.new_serial, members=members, rules=rules)
    yield Payments(runner=runner, reads=reads, lists=given.lists, members=members, names=names, rules=rules)
    yield Batches(runner=runner, reads=reads, members=members, rules=rules)
    yield Freezes(runner=runner, reads=reads, lists=given.lists, members=members, rules=rules)
    yield Refunds(runner=runner, reads=reads, lists=given.lists, members=members, rules=rules, platform=platform)
    yield Withdrawals(
        runner=runner,
        reads=reads,
        lists=given.lists,
        returns=given.returns,
        members=members,
        card_facts=card_facts,
        platform=platform,
    )
    yield Suspense(runner=runner, reads=reads, transfers=given.transfers, members=members)
    yield Clearings(reads=reads, clearing=given.clearing, repeats=given.repeats)
    yield Balances(
        reads=reads,
        entries=given.entries,
        bank=bank,
        clearing=given.clearing,
        members=members,
        rules=rules,
        verify_s=settings.verify_s,
    )
    reconciliation = given.reconciliation
    yield Adjustments(runner=runner, reads=reads, lists=given.lists, members=members, reconciliation=reconciliation)
    yield Statements(bank=bank, members=members)
    yield Files(bank=bank)
    yield WorkRpc(reads=reads, returns=given.returns, transfers=given.transfers, resolver=settings.resolver)
    yield Reconciliations(reconciliation=reconciliation, vault=given.vault, settings=settings.reconciliation)
    yield Operations(reads=reads, lists=given.lists, feed=given.feed, resolver=given.resolver)
