"""What docs/licences.md says of licences is said of every file, and of all that the pipeline knows."""

import re
import subprocess

import pytest
from conftest import ROOT

from kws.audio.formats import is_sound
from kws.download import sources
from kws.recordings import licences
from kws.recordings.licences import together, what_follows
from kws.train.pretrained import EMBEDDINGS, about_embedding

PAGE = (ROOT / "docs" / "licences.md").read_text()
OURS = "Apache-2.0"
ASSET = "src/kws/train/embeddings/kws.npz"  # make embedding writes it
KNOWN = (licences.SPEECH_COMMANDS, licences.ESPEAK, licences.ESPEAK_AND_HIBARI)


def licence_of_files() -> dict[str, str]:
    """The table of the files in the package: path and licence."""
    _, _, section = PAGE.partition("\n## Files in the package\n")
    return dict(re.findall(r"^\| `(src/[^`*]+)` \| ([^|]+) \|", section.partition("\n## ")[0], flags=re.MULTILINE))


def files_in_the_package() -> list[str]:
    found = [path for path in (ROOT / "src" / "kws").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.suffix != ".py")


def test_every_file_in_the_package_that_is_no_python_is_told_with_its_licence():
    told = licence_of_files()
    files = files_in_the_package()
    assert files
    assert [name for name in files if name not in told] == []
    assert set(told) - set(files) <= {ASSET}
    assert {name: licence for name, licence in told.items() if licence != OURS} == {ASSET: f"{OURS}; heard CC BY 4.0"}


def test_no_file_in_the_package_bears_the_notice_of_somebody_else():
    for path in (ROOT / "src" / "kws").rglob("*"):
        if path.suffix in {".py", ".js", ".css", ".html", ".jinja", ".json"}:
            assert not re.search(r"copyright|spdx|@license|all rights reserved", path.read_text(), re.IGNORECASE), path


def test_embeddings_say_what_they_have_heard_and_all_of_it_is_known():
    for path in EMBEDDINGS.glob("*.npz"):
        assert set(about_embedding(path)["licence"].split("; ")) <= set(KNOWN), path


def test_the_repository_holds_no_sound():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = listed.splitlines()
    assert "LICENSE" in names
    assert [name for name in names if (ROOT / name).is_file() and is_sound(name, (ROOT / name).read_bytes()[:64])] == []


@pytest.mark.parametrize("name", sources.PUBLISHED)
def test_published_sets_are_told(name):
    assert f"| `{name}`" in PAGE
    assert sources.PUBLISHED[name].licence == licences.SPEECH_COMMANDS


def test_the_licences_that_the_pipeline_writes_down_are_those_of_the_page():
    for part in ("CC BY 4.0", "Pete Warden", "GPL-3.0-or-later", "Hibari", "Apache-2.0", f'"{licences.NOT_KNOWN}"'):
        assert part in PAGE


def test_several_licences_are_written_together_once_each():
    both = together(["CC BY 4.0, a", licences.ESPEAK, "CC BY 4.0, a"])
    assert both == f"CC BY 4.0, a; {licences.ESPEAK}"
    assert together([both, "CC BY 4.0, a", "CC0"]) == f"{both}; CC0"
    assert together([]) == ""


def test_what_follows_is_said_of_each_licence_once():
    author = what_follows(licences.SPEECH_COMMANDS)
    assert author.startswith("Name the authors")
    assert what_follows("CC BY 4.0, a; CC BY 4.0, b") == author
    assert what_follows(f"CC BY 4.0; {licences.ESPEAK}") == f"{author} {what_follows(licences.ESPEAK)}"
    assert "closed services" in what_follows(licences.ESPEAK_AND_HIBARI)
    assert "closed services" not in what_follows(licences.ESPEAK)
    assert what_follows(licences.NOT_KNOWN).startswith("kws does not know it.")
    assert what_follows("GPL-2.0") == "Read that licence before you pass the model on."
