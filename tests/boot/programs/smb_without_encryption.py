"""smb_without_encryption.py ADDRESS SHARE USER: lists a share as a client that has never heard of encryption.

smbclient cannot play this part: it encrypts whenever a server demands it. Speaks SMB 3.0 through Debian's
python3-impacket, with the one capability taken away. The password is in $SMB_PASSWORD. Prints the files' names, or
the server's error.
"""

import os
import sys

from impacket import smb3
from impacket.smbconnection import SMBConnection

smb3.SMB2_GLOBAL_CAP_ENCRYPTION = 0

address, share, user = sys.argv[1:]
try:
    client = SMBConnection(address, address, preferredDialect=smb3.SMB2_DIALECT_30, timeout=120)
    # Concluded from the server's answer, with the constant that is 0 now.
    client.getSMBServer()._Connection["SupportsEncryption"] = False
    client.login(user, os.environ["SMB_PASSWORD"])
    print(*(entry.get_longname() for entry in client.listPath(share, "*")), sep="\n")
except Exception as error:
    print(error)
    sys.exit(1)
