"""Have the endings of your jobs sent here: check their signatures, print them.

FLOPEX_TARGET=127.0.0.1:7411 FLOPEX_KEY=flx_... python examples/receive_webhooks.py URL PORT [TIMES]

URL is how the exchange reaches this program's PORT: https, through a proxy of yours; or plain http
where the exchange runs with --webhooks-private.
"""

import base64
import hashlib
import hmac
import http.server
import json
import sys
import time

from exchange.client import Client

OLD_S = 300
"""What was sent longer ago may be a repeat by somebody else."""


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 204 to what the exchange has signed, and 400 to everything else."""

    secret = ""

    def do_POST(self) -> None:
        """Take one event."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        sent_s = int(self.headers["webhook-timestamp"] or 0)
        signed = f"{self.headers['webhook-id']}.{sent_s}.".encode()
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        right = base64.b64encode(hmac.digest(key, signed + body, hashlib.sha256)).decode()
        given = self.headers["webhook-signature"] or ""
        genuine = hmac.compare_digest(given, f"v1,{right}") and time.time() - sent_s < OLD_S
        self.send_response(204 if genuine else 400)
        self.end_headers()
        if genuine:
            event = json.loads(body)
            print(event["type"], event["subject"], event["data"].get("state", ""), flush=True)

    def log_message(self, *_: object) -> None:
        """Print events alone."""


def main() -> None:
    """Add a webhook, ask for a test, receive until interrupted or so many times, remove it."""
    url, port, *times = sys.argv[1:]
    with (
        http.server.HTTPServer(("127.0.0.1", int(port)), Receiver) as server,
        Client.from_env() as client,
    ):
        made = client.webhooks.add(url)
        Receiver.secret = made.secret
        try:
            client.webhooks.test(made.webhook.webhook_id)
            for _ in range(int(times[0]) if times else sys.maxsize):
                server.handle_request()
        finally:
            client.webhooks.remove(made.webhook.webhook_id)


if __name__ == "__main__":
    main()
