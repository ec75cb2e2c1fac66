"""Servers and faults as fixtures: real, one's own, gone afterwards, and told where a test fails."""

from __future__ import annotations

import pytest


def test_every_test_has_a_database_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(postgres, number):
            postgres.query("CREATE TABLE payments (amount int)")
            postgres.query("INSERT INTO payments VALUES (%s)", number)
            assert postgres.value("SELECT sum(amount) FROM payments") == number

        def test_what_was_made_is_gone(premortem_servers):
            import psycopg
            with psycopg.connect(premortem_servers.postgres().admin_url) as db:
                named = "SELECT count(*) FROM pg_database WHERE datname LIKE 'premortem_run_%'"
                assert db.execute(named).fetchone() == (0,)
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_failing_test_does_not_print_the_password(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from urllib.parse import urlsplit

        def test_it(postgres):
            password = urlsplit(postgres.url).password
            assert password not in repr(postgres)
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_every_test_has_a_valkey_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from urllib.parse import urlsplit

        import pytest

        from premortem.servers.valkey import ping

        SEEN = []

        @pytest.mark.parametrize("number", [1, 2])
        def test_it(valkey, number):
            parts = urlsplit(valkey)
            assert ping((parts.hostname, parts.port), parts.password) == ""
            assert parts.port not in SEEN
            SEEN.append(parts.port)

        def test_they_are_gone():
            for port in SEEN:
                with pytest.raises(ConnectionRefusedError):
                    ping(("127.0.0.1", port), "any")
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_proxy_strikes_and_a_failing_test_prints_the_recipe(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import psycopg

        def test_a_lost_answer(postgres, fault_proxy):
            postgres.query("CREATE TABLE payments (amount int)")
            proxy = fault_proxy(postgres.url)
            with proxy.at("postgres:COMMIT#1:after"):
                with psycopg.connect(postgres.through(proxy.port)) as db:
                    db.execute("INSERT INTO payments VALUES (1)")
        """
    )
    result = pytester.runpytest_subprocess("--premortem-seed", "11")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*OperationalError*", "*what premortem struck*", "*postgres:COMMIT#1:after*", "*--premortem-seed 11*"]
    )


def test_a_target_that_is_none_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(fault_proxy):
            fault_proxy("shop")
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*fault_proxy('shop'): has to be a URL with a host and a port*"])


def test_the_clock_stands_still_until_it_is_moved(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(clock):
            before = clock.now()
            clock.advance(60)
            assert (clock.now() - before).total_seconds() == clock.monotonic() == 60
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
