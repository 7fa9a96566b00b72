"""What continuous integration does about a test that fails by chance (`.ci/run`).

Thousands of tests here start processes, sockets, browsers and clocks, on machines that others
share. One that fails there is run once more (pytest-rerunfailures, `--reruns 1`), so that no change
is refused for its neighbours' load. It is a fault all the same: its first failure is printed whole
and counted in the closing line, and where more than RERUNS_MAX fail at first the run fails, for
that is no chance. `make test` by itself runs nothing twice.
"""

from __future__ import annotations

from typing import Final

import pytest

RERUNS_MAX: Final = 3
"""Tests of one run that may fail at first."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how each test failed that was run again."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.write_sep("_", f"failed at first, to be mended: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
    if _reruns(terminalreporter) > RERUNS_MAX:
        terminalreporter.write_line(f"more than {RERUNS_MAX} failed at first: that is no chance")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where more failed at first than chance explains."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and _reruns(reporter) > RERUNS_MAX:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reruns(reporter: pytest.TerminalReporter) -> int:
    return len(reporter.getreports("rerun"))
