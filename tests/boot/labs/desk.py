"""What needs no machine: programs of this computer judge what an image holds"""

GUESTS = 0
QUICK = True
SCENARIOS = ["pihole_dns_in_dnsmasq", "pods_find_the_house"]


def run(lab):
    lab.play("pihole_dns_in_dnsmasq", "pods_find_the_house")
