#!/usr/bin/env python3
"""What the recorders know by themselves: reading k3s' configuration, what is accepted, and FTL's rules. Runs anywhere."""

from __future__ import annotations

import unittest

from recorders import accepted, ftl_dnsmasq, k3s_config


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
        self.assertEqual(ftl_dnsmasq.dnsmasq_conf({"dns": {"port": "54", "domain": "home.lab"}}), ftl_dnsmasq.dnsmasq_conf({}))

    def test_defaults(self) -> None:
        conf = ftl_dnsmasq.dnsmasq_conf({})
        self.assertLessEqual({"port=53", "local-service", "bogus-priv", "domain=lan", "local=/lan/", "no-resolv"}, set(conf))
        self.assertFalse({"expand-hosts", "domain-needed", "dnssec", "dhcp-authoritative"} & set(conf))

    def test_a_forwarded_domain_is_not_local(self) -> None:
        toml = {"dns": {"revServers": ["true,10.0.0.0/24,10.0.0.1,Lan", "false,10.1.0.0/24,10.1.0.1"]}}
        conf = ftl_dnsmasq.dnsmasq_conf(toml)
        self.assertLessEqual({"rev-server=10.0.0.0/24,10.0.0.1", "server=/Lan/10.0.0.1", "server=//10.0.0.1", "domain=lan"}, set(conf))
        self.assertFalse([line for line in conf if line == "local=/lan/" or "10.1.0" in line])

    def test_dhcp(self) -> None:
        toml = {"dhcp": {"active": True, "start": "10.0.0.50", "end": "10.0.0.99", "router": "10.0.0.1", "netmask": "255.255.255.0", "leaseTime": "24h"},
                "ntp": {"ipv4": {"active": False}}}
        conf = ftl_dnsmasq.dnsmasq_conf(toml)
        self.assertIn("dhcp-range=10.0.0.50,10.0.0.99,255.255.255.0,24h", conf)
        self.assertFalse([line for line in conf if "ntp-server" in line])
        self.assertEqual(ftl_dnsmasq.dhcp_complaints(toml), [])
        toml["dhcp"]["router"] = "10.0.0.60"
        self.assertEqual(len(ftl_dnsmasq.dhcp_complaints(toml)), 1)

    def test_block_lists(self) -> None:
        text = "# x\n127.0.0.1 localhost\n0.0.0.0 0.0.0.0\n0.0.0.0 Ads.Example # y\ntracker.example\nplain\n||adblock.example^\n"
        self.assertEqual(ftl_dnsmasq.blocked_names(text), ["ads.example", "tracker.example"])


if __name__ == "__main__":
    unittest.main()
