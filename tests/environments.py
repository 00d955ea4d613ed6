"""Environments of their own for what tests talk to: clients of devices, servers. Each has a lock file."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT
from filelock import FileLock

needs_network = pytest.mark.skipif(
    os.environ.get("KWS_NETWORK") != "1", reason="installs packages; KWS_NETWORK=1 runs it"
)


def environment_of(name: str) -> Path:
    """The folder of programs of an environment with the locked packages; made once for each lock."""
    lock = ROOT / "requirements" / f"{name}.txt"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ROOT / ".scratch" / f"{name}-{digest}"
    uv = [Path(sys.executable).with_name("uv"), "--no-config"]
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            install = ["pip", "install", "--quiet", "--require-hashes", "--python", folder / "bin" / "python"]
            subprocess.run([*uv, *install, "-r", lock], check=True)
            (folder / "ready").touch()
    return folder / "bin"
