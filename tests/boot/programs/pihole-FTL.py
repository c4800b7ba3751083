"""pihole-FTL, a recorder: it is called like FTL, reads pihole.toml by FTL's rules, and answers with a real dnsmasq.

Boot tests bake it in as pihole.ftl_binary, as the real one cannot be had where they run. Every call is a line in
/var/lib/pihole-recorder/calls.jsonl, with passwords as their SHA-256.

  pihole-FTL tag                   the version that it stands for
  pihole-FTL --config KEY [VALUE]  says a value of pihole.toml, or notes a new one. The file stays as imgbuild wrote it:
                                   what is set is kept in /etc/pihole/recorder-set.json, the password as its SHA-256
  pihole-FTL -f | no-daemon        writes dnsmasq.conf and hosts/custom.list (see ftl_dnsmasq.py) and becomes dnsmasq,
                                   in the same process, so that systemd's user, capabilities and signals reach it
  pihole-FTL gravity               not of the real one: what Pi-hole's gravity.sh calls FTL for. Collects the names of
                                   the block lists named in /etc/pihole/adlists.list

The internet, for block lists, is the folder /usr/share/pihole-stand-in/internet: https://host/path is host/path there.

What this does not prove: that FTL of the pinned version takes the configuration; for that there is only the list
of accepted.py. The web interface is not there at all.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import tomllib
from typing import Any

import accepted
import ftl_dnsmasq
from recorder import append, at, environment, fingerprint, read_text, replace

VERSION = "@FTL_VERSION@"   # build-recorders puts in what overlays/pihole pins
CONFIG = "/etc/pihole/pihole.toml"
SET = "/etc/pihole/recorder-set.json"
BLOCKED = "/etc/pihole/gravity.list"
INTERNET = "/usr/share/pihole-stand-in/internet"
DNSMASQ = "/usr/sbin/dnsmasq"


def record(**more: Any) -> None:
    words = [fingerprint(w) if i > 2 and sys.argv[i - 1] == "webserver.api.password" else w for i, w in enumerate(sys.argv)]
    append("/var/lib/pihole-recorder/calls.jsonl",
           {"argv": ["pihole-FTL", *words[1:]], "environment": environment(), "user": pwd.getpwuid(os.getuid()).pw_name} | more)


def config() -> dict[str, Any]:
    return tomllib.loads(read_text(CONFIG) or "")


def config_command(words: list[str]) -> int:
    """--config KEY [VALUE]"""
    record()
    key = words[0]
    if key not in accepted.listed("pihole-keys.json")["keys"]:
        print(f"Unknown config option {key}")
        return 4
    already: dict[str, str] = json.loads(read_text(SET) or "{}")
    if len(words) == 1:
        # Where files are, scripts ask for; FTL answers with its defaults, and so does nobody here.
        print(already.get(key) or dict(accepted.flat(config())).get(key, ""))
        return 0
    value = fingerprint(words[1]) if key == "webserver.api.password" else words[1]
    replace(SET, json.dumps(already | {key: value}) + "\n", 0o660)
    print(value)
    return 0


def gravity() -> int:
    """Fetches the block lists and keeps their names. A list that cannot be had is no failure, as in gravity.sh."""
    names: list[str] = []
    lists: dict[str, str] = {}
    for url in (read_text("/etc/pihole/adlists.list") or "").split():
        text = read_text(f"{INTERNET}/{url.split('://', 1)[-1]}")
        lists[url] = "not to be had" if text is None else "fetched"
        names += ftl_dnsmasq.blocked_names(text or "")
    replace(BLOCKED, ftl_dnsmasq.block_hosts(sorted(set(names))), 0o644)
    record(lists=lists, blocked=len(set(names)))
    return 0


def daemon() -> None:
    toml = config()
    complaints = accepted.pihole_complaints(toml) + ftl_dnsmasq.dhcp_complaints(toml)
    record(complaints=complaints)
    replace("/etc/pihole/dnsmasq.conf", "\n".join(ftl_dnsmasq.dnsmasq_conf(toml)) + "\n", 0o644)
    replace("/etc/pihole/hosts/custom.list", ftl_dnsmasq.custom_list(toml), 0o644)
    if not at(BLOCKED).exists():
        replace(BLOCKED, "", 0o644)
    # The option for the block list is not in dnsmasq.conf, as FTL's is not.
    os.execv(DNSMASQ, [DNSMASQ, "--keep-in-foreground", f"--conf-file={at('/etc/pihole/dnsmasq.conf')}",
                       f"--addn-hosts={at(BLOCKED)}", "--pid-file="])


def main(words: list[str]) -> int:
    match words:
        case ["tag"]:
            record()
            print(VERSION)
        case ["--config", *rest] if rest:
            return config_command(rest)
        case ["gravity"]:
            return gravity()
        case ["-f"] | ["no-daemon"]:
            daemon()
        case _:
            record()
            print(f"pihole-FTL: this recorder does not know {words}", file=sys.stderr)
            return 1
    return 0


sys.exit(main(sys.argv[1:]))
