"""The four default nodes on one switch: their first boot, and their second"""

GUESTS = 4
QUICK = True
SCENARIOS = ["first_boot", "second_boot"]

ADDRESSES = {"master": "10.100.0.102", "worker-1": "10.100.0.100", "worker-2": "10.100.0.101", "gateway": "10.100.0.106"}


def run(lab):
    lab.lan.start_dns()
    lab.lan.start_ntp()
    for profile, address in ADDRESSES.items():
        lab.machine(profile, lab.image(profile), address)
    for machine in lab.nodes.values():
        machine.boot()
    lab.come_up()
    lab.play("first_boot")
