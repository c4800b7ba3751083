"""First boot on Bookworm: the nodes are what their profiles say, the SSD is shared, Pi-hole has the password that was given"""

from scenarios import first_boot, ssd_blank

LAB = "bookworm"


def run(lab):
    first_boot.run(lab)
    ssd_blank.run(lab)
    gateway = lab.node("gateway")
    with lab.check("gateway: Pi-hole has the hash of the password that was given, and none was made up"):
        assert 'pwhash = "$BALLOON-SHA256$v=1$s=1024,t=32$' in gateway.read("/etc/pihole/pihole.toml")
        assert not gateway.exists("/etc/imgbuild/pihole.generated")
    with lab.check("gateway: the password itself is nowhere in /etc"):
        assert not gateway.sudo(f"grep -rlF '{lab.secrets['PIHOLE_PASSWORD']}' /etc || true").strip()
