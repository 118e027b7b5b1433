"""The modules whose mistakes cost money, the tests that are to see each, and the mutants that are no mistakes."""

from __future__ import annotations

SCORE_MIN = 95.0
"""Percent of a module's mutants that its tests must see."""

SUITES: dict[str, tuple[str, ...]] = {
    "ledger/rules.py": ("tests/ledger/test_rules.py", "tests/ledger/test_rules_stateful.py"),
    "ledger/batch.py": ("tests/ledger/test_batch.py",),
    "service/plans/settlement.py": ("tests/plans/test_settlement.py",),
    **{
        f"service/plans/{name}.py": ("tests/plans/test_plans.py", "tests/plans/test_plan_parts.py")
        for name in (
            "acquiring",
            "batches",
            "cards",
            "freezes",
            "members",
            "payments",
            "refunds",
            "revocations",
            "suspense",
            "topups",
            "verification",
            "withdrawals",
        )
    },
    "service/questions/shares.py": (
        "tests/plans/test_plans.py",
        "tests/plans/test_plan_parts.py",
        "tests/plans/test_queries.py",
    ),
    "bankclient/canonical.py": ("tests/bankclient/test_canonical.py",),
    "bankclient/outcome.py": ("tests/bankclient/test_outcome.py",),
    "bankclient/money.py": ("tests/bankclient/test_money.py",),
}

LIBRARIES = (
    "pytest",
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "xdist.plugin",
    "anyio.pytest_plugin",
    "_hypothesis_pytestplugin",
    "hypothesis",
    "hypothesis.stateful",
    "pydantic",
    "cryptography.x509",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "sqlalchemy.ext.asyncio",
    "psycopg",
    "psycopg_pool",
    "httpx",
    "structlog",
)
"""Loaded once, before anything is forked."""

LOADED: dict[str, tuple[str, ...]] = {
    "bankclient": ("aiohttp", "jzb.v1.core_pb2"),
    "ledger": ("bankclient", "jzb.v1.core_pb2"),
    "service": ("bankclient", "ledger", "service.problems", "service.settings", "service.vault"),
}
"""By room of the mutant: what its tests need of the project and knows nothing of it. Loaded before the fork, too."""

JUDGED: dict[str, tuple[tuple[str, str], ...]] = {
    "ledger/rules.py": (("Gt -> GtE in len(pockets) > 1", "a single pocket is sorted already"),),
    "ledger/batch.py": (("any -> all", "the serials of a change are none or all there"),),
    "bankclient/money.py": (("'0' -> '0x'", "what it strips are digits"),),
    "bankclient/canonical.py": (
        ("row dropped: element", "the names that lead to an array and what it is signed as tell the element"),
    ),
    "bankclient/outcome.py": (
        ("include_input= dropped", "of an error only its place is read"),
        ("'if e['loc']' dropped", "no reply has a rule over several fields, so each error has a place"),
        ("'R_co' -> 'R_cox'", "a cast does nothing"),
        (r"'\udfff' -> '\udfffx'", "no character lies between the two"),
    ),
    "service/plans/settlement.py": (("cards= dropped", "no word that leaves an operation open changes a card"),),
}
"""By module: the mutant as it is printed, and why it does what the code does."""
