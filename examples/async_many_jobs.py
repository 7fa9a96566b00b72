"""Submit many jobs at once and add up what they cost.

FLOPEX_TARGET=127.0.0.1:7411 FLOPEX_KEY=flx_... python examples/async_many_jobs.py 20
"""

import asyncio
import os
import sys

from exchange.client import Answer, AsyncClient, JobNotSettled, format_flops, format_money

MODEL = os.environ.get("FLOPEX_MODEL", "smollm2-135m")


async def main() -> None:
    """Run them all at the same time."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    async with AsyncClient.from_env() as client:
        jobs = [
            client.jobs.run(
                f"Write one sentence about the number {number}.",
                model=MODEL,
                value="$0.01",
                deadline="5m",
                output_tokens_max=32,
            )
            for number in range(count)
        ]
        done = await asyncio.gather(*jobs, return_exceptions=True)
    answers = [answer for answer in done if isinstance(answer, Answer)]
    for failure in done:
        if isinstance(failure, JobNotSettled):
            print(failure)
        elif isinstance(failure, BaseException):
            raise failure
    paid = format_money(sum(answer.paid_nanos for answer in answers))
    flops = format_flops(sum(answer.flops for answer in answers))
    print(f"{len(answers)} of {count} jobs settled: {flops} for {paid}")


if __name__ == "__main__":
    asyncio.run(main())
