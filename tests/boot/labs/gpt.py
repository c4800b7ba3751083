"""A card with a GPT in place of the base's MBR"""

from expected import NODES
from nodes import NO_SAMBA

GUESTS = 1
QUICK = False
SCENARIOS = ["gpt_card"]


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    lab.machine("worker-1", lab.image("worker-1", disk__table="gpt"), NODES["worker-1"].address, masked=NO_SAMBA)
    lab.play("gpt_card")
