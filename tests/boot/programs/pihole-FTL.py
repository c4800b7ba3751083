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
  pihole-FTL sqlite3 -ni DB [SQL]  runs SQL, or what stands on its input, and ends with 1 at the first error, as FTL's
                                   SQLite does (through the sqlite3 of Python)
  pihole-FTL gravity parseList FILE DB ID
                                   puts the names of a block list into the table gravity of a database that is there,
                                   and their number into its row of adlist

What blocks are the names of vw_gravity in /etc/pihole/gravity.db, as they are when the daemon starts.

What this does not prove: that FTL of the pinned version takes the configuration; for that there is only the list
of accepted.py. The web interface is not there at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import sqlite3
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
GRAVITY = "/etc/pihole/gravity.db"
BLOCKED = "/etc/pihole/gravity.list"   # the recorder's own: a hosts file for dnsmasq
DEFAULTS = {"files.pid": "/run/pihole-FTL.pid", "files.gravity": GRAVITY}
DNSMASQ = "/usr/sbin/dnsmasq"


def record(**more: Any) -> None:
    words = [fingerprint(w) if i > 2 and sys.argv[i - 1] == "webserver.api.password" else w for i, w in enumerate(sys.argv)]
    append("/var/lib/pihole-recorder/calls.jsonl",
           {"argv": ["pihole-FTL", *words[1:]], "environment": environment(), "user": pwd.getpwuid(os.getuid()).pw_name} | more)


def config() -> dict[str, Any]:
    return tomllib.loads(read_text(CONFIG) or "")


def config_command(words: list[str]) -> int:
    """--config [-q] KEY [VALUE]"""
    record()
    words = [word for word in words if word != "-q"]
    key = words[0]
    if key not in accepted.listed("pihole-keys.json")["keys"]:
        print(f"Unknown config option {key}")
        return 4
    if len(words) == 1:
        # Where files are, scripts ask for; of FTL's defaults only those are known here.
        print(dict(accepted.flat(config())).get(key, DEFAULTS.get(key, "")))
        return 0
    changed = {"webserver.api.pwhash": fingerprint(words[1])} if key == "webserver.api.password" else {key: words[1]}
    ftl_toml.write(at(CONFIG), ftl_dnsmasq.Settings(config()).values | changed)
    print(*changed.values())
    return 0


def sql(words: list[str]) -> int:
    """sqlite3 -ni DB [SQL]"""
    record()
    script = words[1] if len(words) == 2 else sys.stdin.read()
    try:
        with contextlib.closing(sqlite3.connect(at(words[0]), isolation_level=None)) as database:
            if len(words) == 2 and script.lstrip().upper().startswith("SELECT"):
                for row in database.execute(script):
                    print(*row, sep="|")
            else:
                database.executescript(script)
    except sqlite3.Error as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def parse_list(file: str, database: str, adlist: str) -> int:
    """gravity parseList FILE DB ID. The real one opens what is there and makes nothing."""
    text = read_text(file)
    if text is None or not at(database).exists():
        print(f"Unable to open {file} or {database}")
        return 1
    names = ftl_dnsmasq.blocked_names(text)
    try:
        with contextlib.closing(sqlite3.connect(at(database))) as gravity, gravity:
            gravity.executemany("INSERT INTO gravity (domain, adlist_id) VALUES (?, ?)", [(name, int(adlist)) for name in names])
            gravity.execute("UPDATE adlist SET number = ?, invalid_domains = 0, abp_entries = 0 WHERE id = ?", (len(names), int(adlist)))
    except (sqlite3.Error, ValueError) as error:
        print(f"Unable to insert domain into database file {database}: {error}")
        return 1
    record(blocked=len(names))
    return 0


def blocked() -> list[str]:
    """What gravity.db blocks; FTL complains of each question without one."""
    with contextlib.closing(sqlite3.connect(f"file:{at(GRAVITY)}?mode=ro", uri=True)) as gravity:
        return sorted({name for (name,) in gravity.execute("SELECT domain FROM vw_gravity")})


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
    try:
        names = blocked()
    except sqlite3.Error as error:
        names = []
        complaints.append(f"ERROR: gravity database: {error}")
    replace(BLOCKED, ftl_dnsmasq.block_hosts(names), 0o644)
    words = [DNSMASQ, f"--conf-file={at(DNSMASQ_CONF)}"] if at(DNSMASQ_CONF).exists() else [DNSMASQ, "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    wrong = subprocess.run([*words, "--test"], capture_output=True, text=True)
    if wrong.returncode != 0:
        complaints.append(f"CRIT: Error in dnsmasq configuration: {wrong.stderr.strip()}")
    record(complaints=complaints, web=ftl_dnsmasq.web_ports(toml), blocked=len(names))
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
        case ["sqlite3", "-ni", *rest] if len(rest) in (1, 2):
            return sql(rest)
        case ["gravity", "parseList", file, database, adlist]:
            return parse_list(file, database, adlist)
        case ["-f"] | ["no-daemon"]:
            daemon()
        case _:
            record()
            print(f"pihole-FTL: this recorder does not know {words}", file=sys.stderr)
            return 1
    return 0


sys.exit(main(sys.argv[1:]))
