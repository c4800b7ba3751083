"""The node's line in the status file, and messages to ntfy or a webhook."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import urllib.error
import urllib.request

import settings

TIMEOUT_SECONDS = 20
LONGEST = 280


def clean(message: str) -> str:
    """The message on one line, without secrets, as long as the status file takes it."""
    message = " ".join(settings.masked(message).split())
    return message if len(message) <= LONGEST else message[: LONGEST - 3] + "..."


def report(state: str, message: str) -> None:
    """Writes the line of the role `backup`."""
    subprocess.run([settings.PROGRAMS / "report", "backup", state, clean(message)], check=False)


def failed(message: str) -> None:
    """Reports a failure, and tells those who want to know. The journal has all of it."""
    print(settings.masked(message))
    report("failed", message)
    tell(clean(message))


def tell(message: str) -> None:
    """Posts the failure. A message that cannot be sent is no failure of the backup."""
    config = settings.load()
    title = f"imgbuild: the backup of {config.cluster} failed on {config.node}"
    targets = settings.notify()
    if "ntfy" in targets:
        headers = {"Title": title, "Priority": "high", "Tags": "warning"}
        post("ntfy", targets["ntfy"], message.encode(), headers)
    if "webhook" in targets:
        # Slack reads `text`, Discord `content`.
        text = f"{title}: {message}"
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"cluster": config.cluster, "node": config.node, "state": "failed", "time": now, "message": message, "text": text, "content": text}
        post("the webhook", targets["webhook"], json.dumps(body).encode(), {"Content-Type": "application/json"})


def post(name: str, url: str, body: bytes, headers: dict[str, str]) -> None:
    # The URL is a secret: neither it nor an error that may quote it is printed.
    try:
        request = urllib.request.Request(url, body, {"User-Agent": "imgbuild", **headers}, method="POST")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            pass
    except urllib.error.HTTPError as error:
        print(f"{name} answers {error.code}", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"{name} could not be reached ({type(error).__name__})", file=sys.stderr)
