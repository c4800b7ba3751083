"""First boot on Bookworm: the nodes are what their profiles say, the SSD is shared, Pi-hole has the password that was given"""

from recorders import fingerprint
from scenarios import first_boot, ssd_blank

LAB = "bookworm"


def run(lab):
    first_boot.run(lab)
    ssd_blank.run(lab)
    gateway = lab.node("gateway")
    with lab.check("gateway: the web interface of Pi-hole has the password that was given, which is on the card no longer"):
        assert fingerprint(lab.secrets["PIHOLE_PASSWORD"]) in gateway.read("/etc/pihole/pihole.toml")
        assert not gateway.exists("/etc/imgbuild/pihole.password") and not gateway.exists("/etc/imgbuild/pihole.generated")
