"""Every continuous integration runs the same make targets, with actions that cannot change."""

import json
import re

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_with_the_version_beside_it(path):
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each) for each in used)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_open_issues(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    own = [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
    assert own in ([], [{"issues": "write"}])


@pytest.mark.parametrize(
    "name", [".ci/run", ".github/workflows/test.yml", ".github/workflows/canary.yml", ".gitlab-ci.yml"]
)
def test_the_same_targets_are_made_everywhere(name):
    text = (ROOT / name).read_text()
    assert "make lint" in text
    assert "make test" in text
    assert "KWS_NETWORK" in text


def test_the_dev_container_sets_up_what_tests():
    told = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert told["postCreateCommand"].startswith("make setup .venv/ready-dev")
