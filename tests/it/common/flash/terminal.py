"""terminal.py ANSWER COMMAND…: runs COMMAND on a terminal of its own, and types ANSWER when it is asked.

Prints what it wrote there, and ends with its exit code. A command that never asks, or never ends, is stopped.
"""

import os
import pty
import select
import sys
import time

answer, command = sys.argv[1].encode().decode("unicode_escape").encode(), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
said, asked, end = b"", False, time.monotonic() + 60
while time.monotonic() < end:
    if not select.select([terminal], [], [], 0.1)[0]:
        continue
    try:
        more = os.read(terminal, 4096)
    except OSError:  # It is over.
        more = b""
    if not more:
        break
    said += more
    if not asked and said.endswith(b"[y/N] "):
        asked = True
        os.write(terminal, answer)
else:
    os.kill(pid, 9)
sys.stdout.write(said.decode().replace("\r\n", "\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
