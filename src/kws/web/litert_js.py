"""LiteRT.js, which runs networks in browsers: downloaded from npm once, checked each time. It needs no Node.js."""

import base64
import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from kws.core.errors import UserError
from kws.core.files import written_whole

REGISTRY = "https://registry.npmjs.org"
TIMEOUT_SECONDS = 60.0  # without a single byte


@dataclass(frozen=True)
class Package:
    """A package of npm.

    Attributes:
        name: with its scope.
        version: the only one that is taken.
        sha512: of its archive, in base64, as npm's `integrity` has it.
        files: where in the page's folder a file of the archive goes.
    """

    name: str
    version: str
    sha512: str
    files: Mapping[str, str]

    @property
    def archive(self) -> str:
        """The name of the archive."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"


# The builds without threads: those with threads need headers that many static hosts do not send. The second one is
# for browsers without relaxed SIMD.
BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal")
PACKAGES = (
    Package(
        "@litertjs/core",
        "2.5.3",
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        {"dist/index.js": "litert/index.js", "package.json": "litert/package.json"}
        | {f"wasm/{build}.{kind}": f"litert/{build}.{kind}" for build in BUILDS for kind in ("js", "wasm")},
    ),
    Package(
        "@litertjs/wasm-utils",
        "2.5.3",
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        {"dist/index.js": "litert/wasm-utils.js"},
    ),
)


def cache() -> Path:
    """The folder in which the archives are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kws"


def litert_js() -> dict[str, bytes]:
    """The files of LiteRT.js by their path in the page's folder.

    Raises:
        UserError: they cannot be downloaded, or are not the expected ones.
    """
    found = {}
    for package in PACKAGES:
        with tarfile.open(fileobj=io.BytesIO(_archive(package)), mode="r:gz") as archive:
            for inside, target in package.files.items():
                if (file := archive.extractfile(f"package/{inside}")) is None:
                    raise ValueError(f"{package.archive}: {inside} is no file")
                found[target] = file.read()
    return found


def _archive(package: Package) -> bytes:
    """The archive of a package: the one that is kept, else a new one."""
    kept = cache() / package.archive
    if kept.exists():
        content = kept.read_bytes()
        if _sha512(content) == package.sha512:
            return content
        print(f"{kept}: damaged, so it is downloaded again", file=sys.stderr)
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY
    url = f"{registry.rstrip('/')}/{package.name}/-/{package.archive}"
    print(f"downloading {url}, once: it is kept as {kept}", file=sys.stderr)
    content = _download(url, kept)
    if (digest := _sha512(content)) != package.sha512:
        raise UserError(f"{url}: wrong checksum: SHA-512 expected {package.sha512}, got {digest}; nothing was kept")
    with written_whole(kept) as partial:
        partial.write_bytes(content)
    return content


def _download(url: str, kept: Path) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise UserError(f"NPM_CONFIG_REGISTRY: {url} has to begin with https:// or http://")
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 (http or https: checked above)
            return answer.read()
    except (OSError, HTTPException) as error:
        raise UserError(
            f"{url}: {error}; NPM_CONFIG_REGISTRY names a mirror, or copy the file from another machine to {kept}"
        ) from None


def _sha512(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()
