"""A role's unit fails ten times: it is tried again after longer and longer pauses, and the others go on"""

from __future__ import annotations

LAB = "faults"
AFTER = ["no_network_at_first"]
TIMES = "/var/lib/imgbuild/flaky.times"


def run(lab):
    node = lab.node("worker-1")
    with lab.check("the other roles are not held up"):
        assert node.multi_user() and node.exists("/var/lib/imgbuild/base.done")
    lab.wait("it has succeeded at its eleventh try", lambda: "done after 11 tries" in node.status(), 600)
    with lab.check("pauses of 2, 4, 8, 16 and then 30 seconds at least, and systemd's 5"):
        times = [float(line) for line in node.read(TIMES).split()]
        pauses = [later - earlier for earlier, later in zip(times, times[1:])]
        wanted = [2, 4, 8, 16] + [30] * 6
        assert len(pauses) == 10 and all(w + 5 <= p < w + 5 + 60 for p, w in zip(pauses, wanted)), pauses
    with lab.check("the journal has every failed try, numbered, with the step that failed"):
        journal = node.sudo("journalctl -b -u imgbuild-flaky -o cat")
        for n in range(1, 11):
            assert f"try {n} failed at: doing what cannot be done" in journal, n
    with lab.check("no unit is left failed"):
        assert not node.failed_units(), node.failed_units()
