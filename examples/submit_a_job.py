"""Submit a job, show its answer as it is written, and then its bill.

FLOPEX_TARGET=127.0.0.1:7411 FLOPEX_KEY=flx_... python examples/submit_a_job.py "Name a colour."
"""

import os
import sys

from exchange.client import Client, JobNotSettled, Output, OutputVoided, Update

MODEL = os.environ.get("FLOPEX_MODEL", "smollm2-135m")


def show(update: Update) -> None:
    """Print output as it comes."""
    match update:
        case Output(text=text):
            print(text, end="", flush=True)
        case OutputVoided():
            # The worker was lost: what it wrote costs nothing, and another one starts anew.
            print("\n[the attempt failed; again:]")


def main() -> None:
    """Run one job."""
    prompt = sys.argv[1] if len(sys.argv) > 1 else "Name three colours of the rainbow."
    with Client.from_env() as client:
        try:
            answer = client.jobs.run(
                prompt,
                model=MODEL,
                value="$0.01",  # what the whole answer is worth; the exchange bids for you
                deadline="60s",
                output_tokens_max=64,
                on_update=show,
            )
        except JobNotSettled as error:
            sys.exit(str(error))
        print(f"\n\npaid {answer.bill}")


if __name__ == "__main__":
    main()
