"""Names of SQL statements: comments, quotes and dollars do not deceive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.proxy.protocols.postgres_statements import statements


def names(text: str, *, tables: bool = False) -> list[str]:
    return [name for statement in statements(text.encode(), tables=tables) for name in statement.names]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ; ;-- nothing\n ; /* ; */", []),
        ("commit", ["COMMIT"]),
        ("  /* a /* nested; */ b */ -- c;\n\tEnD ;", ["COMMIT"]),
        ("BEGIN; INSERT INTO a VALUES (';'); COMMIT", ["BEGIN", "INSERT", "COMMIT"]),
        ("SELECT 'it''s; ' ; SELECT E'\\';' ; SELECT \"a;b\"", ["SELECT", "SELECT", "SELECT"]),
        ("DO $$ BEGIN; COMMIT; END $$; SELECT $a$ ; $b$ ; $a$; END", ["DO", "SELECT", "COMMIT"]),
        ("SELECT $1; SELECT a$b; SELECT 1", ["SELECT", "SELECT", "SELECT"]),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", ["CREATE"]),
        ("CREATE RULE r AS ON INSERT TO a DO (DELETE FROM b; DELETE FROM c); COMMIT", ["CREATE", "COMMIT"]),
        ("(SELECT 1) UNION (SELECT 2)", ["SELECT"]),
        (
            "PREPARE TRANSACTION 'x'; PREPARE p AS SELECT 1; COMMIT PREPARED 'x'",
            ["PREPARE TRANSACTION", "PREPARE", "COMMIT PREPARED"],
        ),
        (
            "ROLLBACK TO a; ROLLBACK TRANSACTION TO SAVEPOINT a; ROLLBACK; ABORT",
            ["ROLLBACK TO", "ROLLBACK TO", "ROLLBACK", "ROLLBACK"],
        ),
        ("SELECT 'never closed ; COMMIT", ["SELECT"]),
        ("SELECT $x$ never closed ; COMMIT", ["SELECT"]),
        ("WITH a AS (SELECT 1) INSERT INTO b SELECT 1", ["WITH"]),
    ],
)
def test_first_keywords(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("INSERT INTO shop.Payments (a) VALUES (1)", "INSERT payments"),
        ('UPDATE ONLY "Odd Name" SET a = 1', "UPDATE Odd Name"),
        ("DELETE FROM ONLY payments", "DELETE payments"),
        ("SELECT a, (b) FROM payments WHERE c", "SELECT payments"),
        ("COPY payments (a) FROM STDIN", "COPY payments"),
        ("TRUNCATE TABLE payments", "TRUNCATE payments"),
        ("MERGE INTO payments USING b ON true", "MERGE payments"),
        ("CREATE /* new */ TABLE payments (a int)", "CREATE TABLE"),
    ],
)
def test_with_their_table(text: str, name: str) -> None:
    assert name in names(text, tables=True)


@given(text=st.binary(max_size=80) | st.text("'\"$;-/*()aE\\ \n", max_size=60).map(str.encode), tables=st.booleans())
def test_any_text_has_statements_within_it(text: bytes, tables: bool) -> None:
    starts = [statement.start for statement in statements(text, tables=tables)]
    assert starts == sorted(set(starts))
    assert all(0 <= start < len(text) for start in starts)
