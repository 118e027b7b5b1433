"""The line to PostgreSQL is cut where it says: a batch is in the database, or it is not."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import pytest

from simulate.line import Line
from simulate.schedule import Blow


@pytest.mark.parametrize(
    ("how", "is_there"),
    [(Blow.CUT_BEFORE_COMMIT, False), (Blow.CUT_IN_COMMIT, False), (Blow.CUT_AFTER_COMMIT, True)],
)
async def test_a_batch_that_is_cut_is_committed_or_not(empty_database: str, how: Blow, is_there: bool) -> None:
    port = urlsplit(empty_database).port
    assert port is not None
    async with Line(lambda: port).open() as line:
        through = empty_database.replace(f":{port}/", f":{line.port}/")
        async with await psycopg.AsyncConnection.connect(through, autocommit=True, prepare_threshold=0) as connection:
            await connection.execute("CREATE TABLE paid (fen int)")
            line.cut_next(how)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("INSERT INTO paid VALUES (%s)", [7])
        line.heal()
        assert line.cuts == {how: 1}
        async with await psycopg.AsyncConnection.connect(through) as connection:
            found = await (await connection.execute("SELECT fen FROM paid")).fetchall()
    assert found == ([(7,)] if is_there else [])
