"""Turns a systemd unit's restrictions of system calls into a filter for bubblewrap: sandbox.py UNIT > filter.bpf

What the unit answers with an error ends the process here (SIGSYS), so that no refused call goes unnoticed. From the unit
come SystemCallFilter, with the sets of `systemd-analyze syscall-filter`, MemoryDenyWriteExecute, RestrictAddressFamilies and
RestrictNamespaces, as systemd 252 applies them (src/shared/seccomp-util.c).
"""

import errno
import socket
import subprocess
import sys

from pyseccomp import ALLOW, ERRNO, EQ, KILL_PROCESS, MASKED_EQ, Arg, SyscallFilter

PROT_WRITE, PROT_EXEC, SHM_EXEC = 2, 4, 0o100000
# CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
NAMESPACES = 0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000
# What allow lists always contain: systemd.exec(5), SystemCallFilter.
ALWAYS = ["@default"]


def members(name):
    """The calls of a set, or the call itself."""
    if not name.startswith("@"):
        return {name}
    command = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    words = [line.strip() for line in lines[1:] if line.startswith("    ") and not line.strip().startswith("#")]
    return set().union(*(members(word) for word in words))


def directives(unit, key):
    with open(unit, encoding="utf-8") as lines:
        return [line.strip().split("=", 1)[1] for line in lines if line.startswith(key + "=")]


def allowed_calls(unit):
    """The first list says whether all lists together allow or deny; ours allow."""
    allowed = set().union(*map(members, ALWAYS))
    for line in directives(unit, "SystemCallFilter"):
        calls = set().union(*map(members, line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def conditions(unit):
    """For a call whose arguments matter, the arguments that are allowed, one list for each way."""
    found = {}
    if directives(unit, "MemoryDenyWriteExecute") == ["yes"]:
        both = PROT_WRITE | PROT_EXEC
        found["mmap"] = [[Arg(2, MASKED_EQ, both, bits)] for bits in (0, PROT_WRITE, PROT_EXEC)]
        found["mprotect"] = found["pkey_mprotect"] = [[Arg(2, MASKED_EQ, PROT_EXEC, 0)]]
        found["shmat"] = [[Arg(2, MASKED_EQ, SHM_EXEC, 0)]]
    families = [name for line in directives(unit, "RestrictAddressFamilies") for name in line.split()]
    if families:
        found["socket"] = [[Arg(0, EQ, getattr(socket, name))] for name in families]
        found["socketpair"] = found["socket"]
    if directives(unit, "RestrictNamespaces") == ["yes"]:
        found["clone"] = [[Arg(0, MASKED_EQ, NAMESPACES, 0)]]
        found["unshare"] = [[Arg(0, EQ, 0)]]
        found["setns"] = []
    return found


def main(unit):
    restrictions = SyscallFilter(KILL_PROCESS)
    special = conditions(unit)
    for call in sorted(allowed_calls(unit)):
        if call == "clone3" and "clone" in special:
            # Its flags lie in memory, where a filter cannot look: libraries fall back to clone.
            restrictions.add_rule(ERRNO(errno.ENOSYS), call)
            continue
        for arguments in special.get(call, [[]]):
            try:
                restrictions.add_rule(ALLOW, call, *arguments)
            except (OSError, ValueError, RuntimeError):
                if arguments:
                    raise
                # A call of another architecture, or younger than the library.
    # The C library asks for the machine's addresses when it sorts those of a name, and does without.
    restrictions.add_rule(ERRNO(errno.EAFNOSUPPORT), "socket", Arg(0, EQ, socket.AF_NETLINK))
    restrictions.export_bpf(sys.stdout)


main(sys.argv[1])
