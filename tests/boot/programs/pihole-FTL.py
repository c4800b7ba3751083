"""pihole-FTL, a recorder: it is called like FTL, reads pihole.toml by FTL's rules, and answers with a real dnsmasq.

Boot tests bake it in as pihole.ftl_binary, as the real one cannot be had where they run. Every call is a line in
/var/lib/pihole-recorder/calls.jsonl, with passwords as their SHA-256. What it imitates was measured with FTL v6.4.1
(8d1add8d, built from source) and read in its source; `tag` says the version that overlays/pihole pins.

  pihole-FTL tag                   the version that it stands for
  pihole-FTL --config KEY [VALUE]  says a value of pihole.toml, or sets it. webserver.api.password sets
                                   webserver.api.pwhash, which is the password's SHA-256 here
  pihole-FTL -f | no-daemon        writes pihole.toml anew, as FTL does at every start (0644, unless the umask forbids),
                                   then dnsmasq.conf and hosts/custom.list (see ftl_dnsmasq.py), and becomes dnsmasq,
                                   in the same process, so that systemd's user, capabilities and signals reach it.
                                   With a dnsmasq.conf that dnsmasq refuses it goes on running without any DNS. With
                                   DHCP settings that FTL refuses it keeps the dnsmasq.conf that is there; without one
                                   dnsmasq runs on its defaults and refuses every question.
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
import signal
import socket
import subprocess
import sys
import tomllib
from typing import Any

import accepted
import ftl_dnsmasq
import ftl_toml
from recorder import append, at, environment, fingerprint, read_text, replace

VERSION = "@FTL_VERSION@"   # build-recorders puts in what overlays/pihole pins
CONFIG = "/etc/pihole/pihole.toml"
DNSMASQ_CONF = "/etc/pihole/dnsmasq.conf"
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
    if len(words) == 1:
        # Where files are, scripts ask for; FTL answers with its defaults, and so does nobody here.
        print(dict(accepted.flat(config())).get(key, ""))
        return 0
    changed = {"webserver.api.pwhash": fingerprint(words[1])} if key == "webserver.api.password" else {key: words[1]}
    ftl_toml.write(at(CONFIG), ftl_dnsmasq.Settings(config()).values | changed)
    print(*changed.values())
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


def host() -> ftl_dnsmasq.Host:
    """This computer. The tailnet's interface may come later."""
    said = json.loads(subprocess.run(["ip", "-json", "-4", "address"], check=True, capture_output=True, text=True).stdout)
    interfaces = {link["ifname"]: tuple(a["local"] for a in link["addr_info"]) for link in said if link}
    return ftl_dnsmasq.Host(socket.gethostname(), {"tailscale0": ()} | interfaces)


def daemon() -> None:
    toml = config()
    refused = ftl_dnsmasq.dhcp_complaints(toml)
    complaints = accepted.pihole_complaints(toml) + refused
    ftl_toml.write(at(CONFIG), ftl_dnsmasq.Settings(toml).values)
    if not refused:
        replace(DNSMASQ_CONF, "\n".join(ftl_dnsmasq.dnsmasq_conf(toml, host())) + "\n", 0o644)
    replace("/etc/pihole/hosts/custom.list", ftl_dnsmasq.custom_list(toml), 0o644)
    if not at(BLOCKED).exists():
        replace(BLOCKED, "", 0o644)
    words = [DNSMASQ, f"--conf-file={at(DNSMASQ_CONF)}"] if at(DNSMASQ_CONF).exists() else [DNSMASQ, "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    wrong = subprocess.run([*words, "--test"], capture_output=True, text=True)
    if wrong.returncode != 0:
        complaints.append(f"CRIT: Error in dnsmasq configuration: {wrong.stderr.strip()}")
    record(complaints=complaints, web=ftl_dnsmasq.web_ports(toml))
    if wrong.returncode != 0:
        signal.pause()   # the process and the web interface stay
        return
    # The option for the block list is not in dnsmasq.conf, as FTL's is not.
    os.execv(DNSMASQ, [*words, "--keep-in-foreground", f"--addn-hosts={at(BLOCKED)}", "--pid-file="])


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
