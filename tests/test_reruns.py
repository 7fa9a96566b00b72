"""A test that fails once is run again and named; two failures of one, or many of some, count."""

from __future__ import annotations

import pytest

from tests.reruns import RERUNS_MAX

pytest_plugins = ["pytester"]

SOURCE = """
import pathlib, pytest

@pytest.mark.parametrize("n", range({count}))
def test_it(n):
    seen = pathlib.Path(f"seen-{{n}}")
    times = len(seen.read_text()) if seen.exists() else 0
    seen.write_text("x" * (times + 1))
    assert times >= {failures}, "the reason of the first failure"
"""


def run(pytester: pytest.Pytester, count: int, failures: int, *options: str) -> pytest.RunResult:
    """A run of `count` tests, each of which fails so many times before it passes."""
    pytester.makeconftest("from tests.reruns import pytest_sessionfinish, pytest_terminal_summary")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(SOURCE.format(count=count, failures=failures))
    return pytester.runpytest_inprocess(*options)


def test_a_failure_by_chance_is_printed_and_does_not_fail_the_run(
    pytester: pytest.Pytester,
) -> None:
    result = run(pytester, RERUNS_MAX, 1, "--reruns", "1")
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes() == {"passed": RERUNS_MAX, "rerun": RERUNS_MAX}
    result.stdout.fnmatch_lines(
        ["*failed at first, to be mended: *test_it[[]0]*", "*first failure*"]
    )


def test_more_than_chance_explains_fails_the_run(pytester: pytest.Pytester) -> None:
    result = run(pytester, RERUNS_MAX + 1, 1, "--reruns", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"more than {RERUNS_MAX} failed at first*"])


def test_two_failures_of_one_test_fail_the_run(pytester: pytest.Pytester) -> None:
    result = run(pytester, 1, 2, "--reruns", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes() == {"failed": 1, "rerun": 1}


def test_nothing_is_run_again_unless_asked(pytester: pytest.Pytester) -> None:
    assert run(pytester, 1, 1).ret == pytest.ExitCode.TESTS_FAILED
