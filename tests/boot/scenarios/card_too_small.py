"""A card smaller than the image: the boot stops with a reason on the console, and the build had said so"""

from __future__ import annotations

from expected import NODES
from harness.card import GIB
from harness.checks import DeadEnd

LAB = "small_card"


def run(lab):
    image = lab.image("worker-1", disk__size="6GiB")
    with lab.check("the build says how large a card must be"):
        assert "the card must have at least 6.5 GB" in (lab.workdir / "imgbuild.log").read_text(), "see imgbuild.log"
    with lab.check("the image is 6 GiB"):
        assert image.stat().st_size == 6 * GIB
    node = lab.machine("worker-1", image, NODES["worker-1"].address, card_gib=4)
    node.boot()
    with lab.check("on a card of 4 GiB the kernel says that the file system is larger than the card"):
        try:
            node.wait_console("no such text", 300)
        except DeadEnd as error:
            text = node.console_text()
            assert "bad geometry" in text or "extends beyond EOD" in text, error
        else:
            raise AssertionError("it booted")
    node.power_cut()
    with lab.check("nothing on the root partition was changed: flashed to a larger card it is whole again"):
        from_root, to_end = node.card.root, node.card.path.stat().st_size
        lab.host(["cmp", f"--ignore-initial={from_root}", f"--bytes={to_end - from_root}", str(image), str(node.card.path)], timeout=600)
