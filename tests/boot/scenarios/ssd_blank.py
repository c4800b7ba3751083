"""A blank SSD is formatted and shared, to those who know the password"""

from __future__ import annotations

import pathlib
import re

from expected import SHARE, SHARE_USER

LAB = "cluster"
TEXT = "written by a client of the share\n"


def smbclient(lab, machine, command, password=None, options=()):
    """Runs smbclient in the lab's network; returns all that it says."""
    auth = f"{SHARE_USER}%{lab.secrets['SAMBA_PASSWORD'] if password is None else password}"
    return lab.host(["smbclient", f"//{machine.address}/{SHARE}", "-U", auth, *options, "-c", command], check=False)


def run(lab):
    master = lab.node("master")
    lab.wait("the disk has become an ext4 file system labelled nas, mounted at /srv/nas",
             lambda: "ext4 nas" in master.run("lsblk -no FSTYPE,LABEL,MOUNTPOINT /dev/disk/by-label/nas | tr -s ' '"), 300)
    lab.wait("smbd serves", lambda: master.unit("smbd.service", "ActiveState")["ActiveState"] == "active", 300)
    with lab.check("a client writes a file with the right password and reads it again"):
        source, back = lab.workdir / "from-client.txt", lab.workdir / "back.txt"
        source.write_text(TEXT)
        answer = smbclient(lab, master, f'put "{source}" hello.txt; get hello.txt "{back}"')
        assert back.read_text() == TEXT, answer
    with lab.check("the file lies on the disk, owned by the share's user, and not on the card"):
        assert master.read(f"/srv/nas/{SHARE}/hello.txt") == TEXT
        assert master.sudo(f"stat -c %U /srv/nas/{SHARE}/hello.txt").strip() == SHARE_USER
        assert master.sudo("findmnt -no SOURCE -T /srv/nas").strip().startswith("/dev/sd")
    with lab.check("a wrong password, no password and another user are refused"):
        for answer in (smbclient(lab, master, "ls", password="wrong"), smbclient(lab, master, "ls", options=("-N", "-U", "")),
                       smbclient(lab, master, "ls", options=("-U", f"pi%{lab.secrets['SAMBA_PASSWORD']}"))):
            # Without a password the session is anonymous, which cannot be signed: smbclient hangs up.
            assert re.search("NT_STATUS_(LOGON_FAILURE|ACCESS_DENIED|CONNECTION_DISCONNECTED)", answer), answer
            assert "hello.txt" not in answer, answer
    with lab.check("SMB 2 and SMB 1 are refused"):
        for protocol in ("SMB2_10", "NT1"):
            answer = smbclient(lab, master, "ls", options=("-m", protocol, "--option=client min protocol=NT1"))
            assert "hello.txt" not in answer and "NT_STATUS" in answer or "negotiation failed" in answer, answer
    with lab.check("the password's hash has left the card"):
        assert not master.exists("/etc/imgbuild/samba.nthash")
    unencrypted_is_refused_where_demanded(lab, master)


def unencrypted_is_refused_where_demanded(lab, master):
    """`encrypt = "required"` is one line of smb.conf, tried on the running server and taken back."""
    with lab.check("a client that cannot encrypt is served, signed, as long as encryption is only desired"):
        assert "hello.txt" in without_encryption(lab, master)
    with lab.check("with encrypt = required it is refused, and one that can is served"):
        master.sudo("cp -p /etc/samba/smb.conf /root/smb.conf && "
                    "sed -i 's/^\\( *server smb encrypt =\\).*/\\1 required/' /etc/samba/smb.conf && systemctl restart smbd")
        try:
            refused, served = without_encryption(lab, master), smbclient(lab, master, "ls")
        finally:
            master.sudo("mv /root/smb.conf /etc/samba/smb.conf && systemctl restart smbd")
        assert "STATUS_ACCESS_DENIED" in refused, refused
        assert "hello.txt" in served, served


def without_encryption(lab, master):
    """What a client sees that knows SMB 3.0 without encryption (Debian's Python, for Debian's impacket)."""
    program = pathlib.Path(__file__).parent.parent / "programs" / "smb_without_encryption.py"
    return lab.host(["env", f"SMB_PASSWORD={lab.secrets['SAMBA_PASSWORD']}", "/usr/bin/python3", str(program),
                     master.address, SHARE, SHARE_USER], check=False)
