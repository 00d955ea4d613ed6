"""What several test files need: the project's parameters, and a project of its own in an empty folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kws.params import Params, load_params

ROOT = Path(__file__).parent.parent
RECORDINGS = ROOT.parent / "shared" / "speech_commands"

needs_recordings = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"needs the real recordings in {RECORDINGS}")


@pytest.fixture(scope="session", autouse=True)
def _deterministic_tensorflow() -> None:
    """TensorFlow takes its number of threads only before its first use, wherever in the suite that is."""
    from kws import training

    training.make_deterministic(seed=1)


@pytest.fixture
def defaults() -> dict[str, Any]:
    """The parameters of params.yaml, to be changed."""
    return load_params(ROOT / "params.yaml").model_dump()


@pytest.fixture
def write_params(tmp_path: Path, defaults: dict[str, Any]) -> Callable[..., Path]:
    """Writes a params.yaml into the test's folder: the defaults, with these changes."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "params.yaml"
        content = defaults | changes
        path.write_text(yaml.safe_dump(content | {"words": list(content["words"])}))
        return path

    return write


@pytest.fixture
def make_params(defaults: dict[str, Any]) -> Callable[..., Params]:
    """The defaults as checked parameters, with these changes."""
    return lambda **changes: Params.model_validate(defaults | changes)
