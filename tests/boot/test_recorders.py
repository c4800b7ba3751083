#!/usr/bin/env python3
"""What the recorders know by themselves: reading k3s' configuration, what is accepted, and FTL's rules. Runs anywhere."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib
import unittest
from typing import Any

import real_dnsmasq
from dns_client import Answer, Upstream, ask
from recorders import PIHOLE_CALLS, PROGRAMS, accepted, ftl_dnsmasq, ftl_toml, k3s_config

HOST = ftl_dnsmasq.Host("stoneward", {"lo": ("127.0.0.1",), "eth0": ("10.100.0.106",)})
# What the role baked in until commit 4843a52, and what it does since.
OLD = tomllib.loads("""
[dns]
  upstreams = ["9.9.9.9"]
  interface = "eth0"
  listeningMode = "ALL"
  domainNeeded = true
  expandHosts = true
  hosts = ["10.100.0.106 stoneward.home.lab stoneward", "10.100.0.102 bondsmith.home.lab bondsmith"]
  domain = {name = "home.lab", local = true}
[misc]
  dnsmasq_lines = ["address=/apps.home.lab/10.100.0.50"]
""")
NEW = {"dns": OLD["dns"] | {"piholePTR": "HOSTNAMEFQDN", "reply": {"host": {"force4": True, "IPv4": "10.100.0.106"}}},
       "misc": {"dnsmasq_lines": [*OLD["misc"]["dnsmasq_lines"], "local=/apps.home.lab/"]}}


class K3sConfig(unittest.TestCase):
    def test_reads_what_imgbuild_writes(self) -> None:
        text = '# a remark\ntoken: "a: #b\\"c"\nnode-ip: 10.0.0.1\ntls-san:\n  - "x"\n  - y.z\ndisable: ["servicelb"]\ncluster-init: true\n'
        self.assertEqual(k3s_config.parse(text), {
            "token": 'a: #b"c', "node-ip": "10.0.0.1", "tls-san": ["x", "y.z"], "disable": ["servicelb"], "cluster-init": True})

    def test_says_what_it_does_not_understand(self) -> None:
        for text in ("a: {b: c}\n", "a: b\na: c\n", "  - x\n", "a: [b, c]\n"):
            with self.assertRaises(ValueError, msg=text):
                k3s_config.parse(text)

    def test_later_files_replace_or_add(self) -> None:
        merged = k3s_config.merge({"disable": ["servicelb"], "token": "a"}, {"disable+": ["traefik"], "token": "b"})
        self.assertEqual(merged, {"disable": ["servicelb", "traefik"], "token": "b"})

    def test_complaints(self) -> None:
        good = {"token": "t", "tls-san": ["a"], "disable": "servicelb,traefik", "secrets-encryption": True, "https-listen-port": 6443}
        self.assertEqual(accepted.k3s_complaints("server", good), [])
        for kind, key, value in (("server", "disable-apiserver-lb", True), ("agent", "tls-san", ["a"]), ("server", "disable", ["ingress"]),
                                 ("server", "cluster-init", "maybe"), ("server", "flannel-backend", "ipsec"), ("agent", "node-ip", [["a"]])):
            self.assertEqual(len(accepted.k3s_complaints(kind, {key: value})), 1, (kind, key, value))


class PiholeConfig(unittest.TestCase):
    def test_complaints(self) -> None:
        good = {"dns": {"upstreams": ["1.1.1.1"], "port": 53, "domain": {"name": "lan", "local": True}, "listeningMode": "ALL"},
                "dhcp": {"start": "", "end": "10.0.0.1"}}
        self.assertEqual(accepted.pihole_complaints(good), [])
        for key, value in (("domain", "home.lab"), ("upstreams", "1.1.1.1"), ("port", 70000), ("port", True), ("listeningMode", "all")):
            self.assertEqual(len(accepted.pihole_complaints({"dns": {key: value}})), 1, (key, value))
        self.assertEqual(len(accepted.pihole_complaints({"dhcp": {"start": "ten"}})), 1)

    def test_what_ftl_does_not_know_changes_nothing(self) -> None:
        self.assertEqual(ftl_dnsmasq.dnsmasq_conf({"dns": {"port": "54", "domain": "home.lab"}}, HOST), ftl_dnsmasq.dnsmasq_conf({}, HOST))

    def test_defaults(self) -> None:
        conf = ftl_dnsmasq.dnsmasq_conf({}, HOST)
        self.assertLessEqual({"port=53", "local-service", "bogus-priv", "domain=lan", "local=/lan/", "no-resolv"}, set(conf))
        self.assertFalse({"expand-hosts", "domain-needed", "dnssec", "dhcp-authoritative"} & set(conf))

    def test_a_forwarded_domain_is_not_local(self) -> None:
        toml = {"dns": {"revServers": ["true,10.0.0.0/24,10.0.0.1,Lan", "false,10.1.0.0/24,10.1.0.1"]}}
        conf = ftl_dnsmasq.dnsmasq_conf(toml, HOST)
        self.assertLessEqual({"rev-server=10.0.0.0/24,10.0.0.1", "server=/Lan/10.0.0.1", "server=//10.0.0.1", "domain=lan"}, set(conf))
        self.assertFalse([line for line in conf if line == "local=/lan/" or "10.1.0" in line])

    def test_dhcp(self) -> None:
        toml = {"dhcp": {"active": True, "start": "10.0.0.50", "end": "10.0.0.99", "router": "10.0.0.1", "netmask": "255.255.255.0", "leaseTime": "24h"},
                "ntp": {"ipv4": {"active": False}}}
        conf = ftl_dnsmasq.dnsmasq_conf(toml, HOST)
        self.assertIn("dhcp-range=10.0.0.50,10.0.0.99,255.255.255.0,24h", conf)
        self.assertFalse([line for line in conf if "ntp-server" in line])
        self.assertEqual(ftl_dnsmasq.dhcp_complaints(toml), [])
        toml["dhcp"]["router"] = "10.0.0.60"
        self.assertEqual(len(ftl_dnsmasq.dhcp_complaints(toml)), 1)

    def test_block_lists(self) -> None:
        text = "# x\n127.0.0.1 localhost\n0.0.0.0 0.0.0.0\n0.0.0.0 Ads.Example # y\ntracker.example\nplain\n||adblock.example^\n"
        self.assertEqual(ftl_dnsmasq.blocked_names(text), ["ads.example", "tracker.example"])

    def test_web_ports(self) -> None:
        for text, wanted in (("80o,[::]:80o,443os,[::]:443os", {80: "http", 443: "https"}), ("443o,443os", {443: "http"}),
                             ("53o,443os", {}), ("99999o", {}), ("8080o", {8080: "http"})):
            self.assertEqual(ftl_dnsmasq.web_ports({"webserver": {"port": text}}), wanted, text)


class FtlsOwnParts(unittest.TestCase):
    """In which the recorder has to be like FTL, so that a role which is wrong fails in the boot. A real dnsmasq answers."""

    def asked(self, toml: dict[str, Any], *questions: tuple[str, str]) -> list[Answer | None]:
        upstream, port = Upstream("203.0.113.80"), real_dnsmasq.free_port()
        with tempfile.TemporaryDirectory() as folder:
            with real_dnsmasq.pihole(pathlib.Path(folder), toml, HOST, port=port, upstream=f"127.0.0.1#{upstream.port}"):
                return [ask("127.0.0.1", name, kind, port=port) for name, kind in questions]

    def test_own_names_have_the_address_that_was_asked(self) -> None:
        questions = [(name, "A") for name in ("stoneward.home.lab", "stoneward", "pi.hole", "pi.hole.home.lab")]
        self.assertEqual(set(self.asked(OLD, *questions)), {Answer("NOERROR", ("127.0.0.1",))})
        self.assertEqual(set(self.asked(NEW, *questions)), {Answer("NOERROR", ("10.100.0.106",))})
        for toml in (OLD, NEW):
            other, ipv6 = self.asked(toml, ("bondsmith.home.lab", "A"), ("stoneward.home.lab", "AAAA"))
            self.assertEqual((other, ipv6), (Answer("NOERROR", ("10.100.0.102",)), Answer("NOERROR", ("::1",))))

    def test_forced_without_an_address(self) -> None:
        toml = {"dns": NEW["dns"] | {"reply": {"host": {"force4": True, "IPv4": "10.100.0.106", "force6": True, "IPv6": ""}}}}
        self.assertEqual(self.asked(toml, ("pi.hole", "AAAA")), [Answer("NOERROR", ("::",))])

    def test_other_types_below_the_wildcard(self) -> None:
        kinds = [("x.apps.home.lab", kind) for kind in ("AAAA", "HTTPS", "TXT", "MX")]
        self.assertEqual(set(self.asked(OLD, *kinds)), {Answer("NXDOMAIN")})
        self.assertEqual(set(self.asked(NEW, *kinds)), {Answer("NOERROR")})
        for toml in (OLD, NEW):
            self.assertEqual(self.asked(toml, ("a.b.apps.home.lab", "A"), ("no.home.lab", "A")),
                             [Answer("NOERROR", ("10.100.0.50",)), Answer("NXDOMAIN")])

    def test_the_way_back(self) -> None:
        self.assertEqual(self.asked(OLD, ("10.100.0.106", "PTR")), [Answer("NOERROR", ("pi.hole",))])
        self.assertEqual(self.asked(NEW, ("10.100.0.106", "PTR")), [Answer("NOERROR", ("stoneward.home.lab",))])

    def test_a_wrong_record_is_left_out_in_silence(self) -> None:
        toml = {"dns": NEW["dns"] | {"hosts": ["10.0.0.999 foo.home.lab", "10.100.0.7 bar.home.lab"]}}
        self.assertEqual(self.asked(toml, ("foo.home.lab", "A"), ("bar.home.lab", "A")),
                         [Answer("NXDOMAIN"), Answer("NOERROR", ("10.100.0.7",))])

    def test_what_stops_all_dns(self) -> None:
        """With these dnsmasq does not start, neither the real one in FTL nor ours; so the recorder has no DNS either."""
        dhcp = {"active": True, "start": "10.0.0.50", "end": "10.0.0.99", "router": "10.0.0.1", "leaseTime": "banana"}
        for wrong in ({"dns": {"upstreams": ["dns.example.invalid"]}}, {"dns": {"upstreams": ["9.9.9.9#dns"]}},
                      {"dns": {"cnameRecords": ["a,b", "a,c"]}}, {"dhcp": dhcp}):
            with self.subTest(wrong), tempfile.TemporaryDirectory() as folder:
                conf = pathlib.Path(folder, "dnsmasq.conf")
                conf.write_text("\n".join(ftl_dnsmasq.dnsmasq_conf(wrong, HOST, folder, "-")) + "\n")
                test = functools.partial(subprocess.run, ["dnsmasq", "--test", f"--conf-file={conf}"], capture_output=True)
                self.assertEqual(test().returncode, 1)
                conf.write_text("\n".join(ftl_dnsmasq.dnsmasq_conf({}, HOST, folder, "-")) + "\n")
                self.assertEqual(test().returncode, 0)

    def test_without_dns_the_process_stays(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            config, calls = pathlib.Path(folder, "etc/pihole/pihole.toml"), pathlib.Path(folder, PIHOLE_CALLS[1:])
            config.parent.mkdir(parents=True)
            config.write_text('[dns]\nupstreams = ["9.9.9.9#dns"]\n')
            with subprocess.Popen([sys.executable, "-B", PROGRAMS / "pihole-FTL.py", "-f"], env=os.environ | {"RECORDER_ROOT": folder}) as daemon:
                for _ in range(100):
                    if calls.exists() and calls.read_text().endswith("\n"):
                        break
                    time.sleep(0.1)
                self.assertIn("CRIT: Error in dnsmasq configuration", calls.read_text())
                self.assertIsNone(daemon.poll())
                daemon.terminate()

    def test_gravity_is_made_and_mistakes_are_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "list").write_text("0.0.0.0 ads.example\n")

            def ftl(*words: str, text: str = "") -> tuple[int, str]:
                done = subprocess.run([sys.executable, "-B", PROGRAMS / "pihole-FTL.py", *words], input=text, text=True,
                                      env=os.environ | {"RECORDER_ROOT": folder}, capture_output=True)
                return done.returncode, done.stdout.strip()

            schema = (PROGRAMS / "pihole-core/advanced/Templates/gravity.db.sql").read_text()
            self.assertEqual(ftl("gravity", "parseList", "/list", "/new.db", "1")[0], 1, "it makes no database")
            self.assertEqual(ftl("sqlite3", "-ni", "/new.db", text=schema), (0, ""))
            self.assertEqual(ftl("sqlite3", "-ni", "/new.db", text=schema)[0], 1, "the tables are there")
            self.assertEqual(ftl("sqlite3", "-ni", "/new.db", "INSERT INTO adlist (nonsense) VALUES (1);")[0], 1)
            self.assertEqual(ftl("sqlite3", "-ni", "/new.db", "INSERT INTO adlist (id, address) VALUES (1, 'x');"), (0, ""))
            self.assertEqual(ftl("gravity", "parseList", "/nothing", "/new.db", "1")[0], 1)
            self.assertEqual(ftl("gravity", "parseList", "/list", "/new.db", "1"), (0, ""))
            self.assertEqual(ftl("sqlite3", "-ni", "/new.db", "SELECT domain, group_id FROM vw_gravity"), (0, "ads.example|0"))
            self.assertEqual(ftl("sqlite3", "-ni", "/new.db", "SELECT number FROM adlist"), (0, "1"))
            self.assertEqual(ftl("gravity")[0], 1)

    def test_pihole_toml_is_written_with_the_modes_of_the_umask(self) -> None:
        values = ftl_dnsmasq.Settings(NEW).values
        for mask, mode in ((0o022, 0o644), (0o027, 0o640)):
            before = os.umask(mask)
            try:
                with tempfile.TemporaryDirectory() as folder:
                    path = pathlib.Path(folder, "pihole.toml")
                    path.touch(0o600)
                    ftl_toml.write(path, values)
                    self.assertEqual(path.stat().st_mode & 0o777, mode)
                    self.assertEqual(ftl_dnsmasq.Settings(tomllib.loads(path.read_text())).values, values)
            finally:
                os.umask(before)


if __name__ == "__main__":
    unittest.main()
