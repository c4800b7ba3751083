"""First boot on Bookworm: the nodes are what their profiles say, and the SSD is shared"""

from scenarios import first_boot, ssd_blank

LAB = "bookworm"


def run(lab):
    first_boot.run(lab)
    ssd_blank.run(lab)
