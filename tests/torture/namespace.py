"""Namespaces of Linux, in which this process may mount file systems, and has a network that nobody else is in."""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

COMMAND = ["unshare", "--map-root-user", "--mount", "--net"]
INSIDE = "TORTURE_NAMESPACE"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)


def enter() -> None:
    """Replaces this process by one in namespaces of its own, if that is allowed here."""
    if entered():
        with socket.socket() as any_socket:  # 127.0.0.1 is off at first
            fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    elif is_allowed():
        os.environ[INSIDE] = "1"
        os.execvp(COMMAND[0], [*COMMAND, sys.executable, *sys.orig_argv[1:]])


def entered() -> bool:
    """Whether this process is in namespaces of its own."""
    return INSIDE in os.environ


def is_allowed() -> bool:
    """Whether a process may have them, and mount a file system there."""
    probe = [*COMMAND, "mount", "-t", "tmpfs", "tmpfs", "/tmp"]
    return bool(shutil.which(COMMAND[0])) and subprocess.run(probe, capture_output=True, check=False).returncode == 0
