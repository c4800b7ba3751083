"""One line for every check: how long the lab has been running, whether it held, and the sentence."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 2.0


class GaveUp(Exception):
    """Something without which the rest of a lab makes no sense did not happen."""


class DeadEnd(GaveUp):
    """A boot has ended where nothing more will happen."""


class Checks:
    """Prints and keeps the results of one lab. `results` is a file of JSON lines that the main program sums up."""

    def __init__(self, lab: str, results: pathlib.Path) -> None:
        self.lab = lab
        self.scenario = "-"
        self.started = time.monotonic()
        self.results = results
        self.failures = 0

    @contextlib.contextmanager
    def check(self, sentence: str) -> Iterator[None]:
        """Whatever goes wrong inside makes the check fail; what comes after it still runs."""
        begun = time.monotonic()
        try:
            yield
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001 - any error is a failed check
            self._record("FAIL", sentence, begun, explain(error))
        else:
            self._record("ok", sentence, begun)

    def wait(self, sentence: str, happened: Callable[[], Result], timeout: float, must: bool = False) -> Result | None:
        """Asks again and again until the answer is true (and returns it) or `timeout` seconds are over. Errors
        count as "not yet". With `must`, the lab ends here when it does not happen."""
        begun = time.monotonic()
        last = "never true"
        while time.monotonic() - begun < timeout:
            try:
                if answer := happened():
                    self._record("ok", sentence, begun)
                    return answer
                last = f"last answer: {answer!r}"
            except GaveUp:
                raise
            except Exception as error:  # noqa: BLE001
                last = explain(error)
            time.sleep(POLL_SECONDS)
        self._record("FAIL", sentence, begun, f"not within {timeout:.0f} s; {last}")
        if must:
            raise GaveUp(sentence)
        return None

    def skip(self, sentence: str, why: str) -> None:
        """A check that cannot be made here, and the reason."""
        self._record("skip", sentence, time.monotonic(), why)

    def note(self, sentence: str) -> None:
        """A line without a verdict, such as a measured time."""
        self._print("", sentence)

    def _record(self, verdict: str, sentence: str, begun: float, detail: str = "") -> None:
        self.failures += verdict == "FAIL"
        took = time.monotonic() - begun
        self._print(verdict, sentence + (f" ({took:.0f} s)" if took >= 5 else ""))
        for line in detail.splitlines():
            self._print("", f"      {line}")
        entry = {"lab": self.lab, "scenario": self.scenario, "verdict": verdict, "check": sentence,
                 "seconds": round(took, 1), "at": round(time.monotonic() - self.started, 1), "detail": detail}
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _print(self, verdict: str, text: str) -> None:
        at = time.monotonic() - self.started
        sys.stdout.write(f"{at:6.0f} s  {verdict:4}  {self.lab}/{self.scenario}: {text}\n")
        sys.stdout.flush()


def explain(error: Exception) -> str:
    """The error, and where in the scenario it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "/scenarios/" in f.filename), frames[-1] if frames else None)
    where = f" [{pathlib.Path(place.filename).name}:{place.lineno}: {place.line}]" if place else ""
    return f"{type(error).__name__}: {error}{where}"
