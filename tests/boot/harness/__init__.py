"""Boots images in QEMU as a Raspberry Pi would and asks the running systems. Standard library only."""
