"""What `flopex bench fanout` measures: every subscriber is told every change."""

from __future__ import annotations

from flopex.bench.fanout import Settings, run


async def test_every_subscriber_is_told_and_who_reads_nothing_harms_nobody() -> None:
    found = await run(Settings(subscribers=20, slow=5, per_s=20, seconds=1.5))
    # A subscriber that a busy machine holds up is told of several changes at once.
    assert 0 < found["each_least"] <= found["each_most"]
    assert found["messages"] >= 20 * found["each_least"]
    assert 0 < found["delay_p50_ms"] <= found["delay_p99_ms"] <= found["delay_max_ms"]
    assert found["server_cpu_us_per_message"] > 0
