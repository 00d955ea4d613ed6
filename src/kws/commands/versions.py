"""Writes versions.yaml: the locked versions of the libraries that compute results. DVC's stages depend on them.

`make lock` calls it after writing the lock: `python -m kws.commands.versions`. In dvc.yaml a stage lists the libraries
that it computes with, so a new version of a library runs these stages again.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from kws.core.files import written_whole

LOCK = Path("requirements/pipeline.txt")
VERSIONS = Path("versions.yaml")
LIBRARIES = (
    "ai-edge-litert",
    "av",
    "espeakng-loader",
    "flatbuffers",
    "jinja2",
    "keras",
    "matplotlib",
    "mlflow",  # the registered model asks for it
    "numba",
    "numpy",
    "pillow",
    "plotly",
    "pymicro-features",
    "scikit-learn",
    "scipy",
    "soundfile",
    "soxr",
    "tensorflow",  # on Linux x86-64 tensorflow-cpu, of the same version
    "tflite-micro",
    "umap-learn",
)
HEADER = """\
# The locked versions of the libraries that compute results. Stages in dvc.yaml depend on them.
# Written by `make lock` from requirements/pipeline.txt.
"""


def locked_versions(lock: str, libraries: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """The version of each library in the text of a lock file, by name.

    Raises:
        KeyError: the lock does not hold one of them.
    """
    found = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock, flags=re.MULTILINE))
    return {library: found[library] for library in libraries}


def main() -> None:
    """Reads the lock, writes the versions."""
    lines = [f"{name}: '{version}'\n" for name, version in locked_versions(LOCK.read_text(encoding="utf-8")).items()]
    with written_whole(VERSIONS) as partial:
        partial.write_text(HEADER + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
