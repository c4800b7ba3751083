"""An image that was made larger than the card it is put on"""

GUESTS = 1
QUICK = True
SCENARIOS = ["card_too_small"]


def run(lab):
    lab.play("card_too_small")
