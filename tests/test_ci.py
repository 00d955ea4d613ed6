"""Every continuous integration runs the same make targets, with actions that cannot change."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs

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
def test_a_workflow_may_only_read_but_for_one_job(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    own = [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
    writes = {
        "canary": [{"issues": "write"}],
        "post-report": [{"actions": "read", "contents": "write", "pull-requests": "write"}],
    }
    assert own == writes.get(path.stem, [])


def test_what_may_write_runs_no_code_of_a_pull_request():
    """A workflow that another one starts has the rights of the main branch: it checks out no other commit."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "post-report.yml").read_text())
    assert set(workflow[True]) == {"workflow_run"}  # YAML 1.1 reads `on` as true
    [job] = workflow["jobs"].values()
    checkout, post = job["steps"]
    assert checkout["with"] == {"persist-credentials": False}
    assert "${{" not in post["run"]  # names of branches are data, and never part of a script
    reads = yaml.safe_load((ROOT / ".github" / "workflows" / "report.yml").read_text())
    assert set(reads[True]) == {"pull_request"}
    assert all("${{" not in step.get("run", "") for step in reads["jobs"]["report"]["steps"])


@pytest.mark.parametrize("name", [".ci/run", ".github/workflows/canary.yml"])
def test_the_same_targets_are_made_everywhere(name):
    text = (ROOT / name).read_text()
    assert "make lint" in text
    assert "make test" in text
    assert "KWS_NETWORK" in text


def test_github_and_gitlab_run_what_every_other_server_runs():
    github = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]["test"]["steps"]
    gitlab = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())["test"]
    assert [step["run"] for step in github if "run" in step] == gitlab["script"] == [".ci/run"]


def test_the_dev_container_sets_up_what_tests():
    told = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert told["postCreateCommand"].startswith("make setup .venv/ready-dev")


REPORT = "<!-- kws report -->\n## What\n![a](accuracies.png)\n![c](confusion.png)\nsee accuracies.png\n"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.md").write_text(REPORT)
    for name in ("accuracies", "confusion"):
        (folder / f"{name}.png").write_bytes(name.encode())
    return folder


class GitHub:
    """A repository, and a program `gh` that notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "server" / "ann" / "kws"
        self.repository.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", "--bare", str(self.repository)], check=True)
        program = folder / "bin" / "gh"
        program.parent.mkdir()
        program.write_text(
            """#!/bin/sh
echo "$@" >> "$FOLDER/asked"
case "$*" in
  *repos/ann/kws/pulls*) echo "$NUMBER" ;;
  *--paginate*) [ -z "$OLD" ] || echo "$OLD" ;;
  *PATCH*) for word; do case "$word" in body=@*) cp "${word#body=@}" "$FOLDER/comment" ;; esac; done ;;
  *pr*comment*) for file; do :; done; cp "$file" "$FOLDER/comment" ;;
esac
"""
        )
        program.chmod(0o755)

    def post(self, report: Path, number: str, run: str, old: str = "") -> str:
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "FOLDER": str(self.folder),
            "NUMBER": number,
            "OLD": old,
            "GITHUB_SERVER_URL": str(self.folder / "server"),
            "GITHUB_REPOSITORY": "ann/kws",
            "GITHUB_RUN_ID": run,
        }
        command = [str(ROOT / ".ci" / "post-github"), str(report), "bo:change", "0123abc"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def pictures(self) -> set[str]:
        command = ["git", "-C", str(self.repository), "ls-tree", "-r", "--name-only", "kws-reports"]
        return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()


def test_a_report_becomes_one_comment_on_github_with_its_pictures(report, tmp_path):
    github = GitHub(tmp_path)
    github.post(report, "12", "700")
    assert github.pictures() == {"12/700/accuracies.png", "12/700/confusion.png"}
    place = f"{tmp_path}/server/ann/kws/raw/kws-reports/12/700"
    comment = f"![a]({place}/accuracies.png)\n![c]({place}/confusion.png)\nsee accuracies.png\n"
    assert (tmp_path / "comment").read_text() == f"<!-- kws report -->\n## What\n{comment}"
    assert "head=bo:change" in github.asked()[0]
    assert '.head.sha == "0123abc"' in github.asked()[0]
    assert github.asked()[-1].startswith("pr comment 12 --repo ann/kws --body-file ")
    github.post(report, "13", "701")
    github.post(report, "12", "702", old="99")
    names = ("accuracies", "confusion")
    assert github.pictures() == {f"{place}/{name}.png" for place in ("12/702", "13/701") for name in names}
    assert "repos/ann/kws/issues/comments/99" in github.asked()[-1]
    assert "raw/kws-reports/12/702/confusion.png" in (tmp_path / "comment").read_text()


def test_nothing_is_posted_of_what_is_no_report_or_belongs_to_no_pull_request(report, tmp_path):
    github = GitHub(tmp_path)
    assert github.post(report, "", "700") == "not posted: no open pull request of bo:change ends with 0123abc\n"
    (tmp_path / "secret").write_text("secret")
    (report / "confusion.png").unlink()
    (report / "confusion.png").symlink_to(tmp_path / "secret")
    assert github.post(report, "12", "700") == "not posted: the report has no confusion.png\n"
    assert not (tmp_path / "comment").exists()


def post_to_gitlab(report: Path, server, token: str = "secret") -> str:
    environment = os.environ | {
        "CI_API_V4_URL": server.url_for("/api/v4"),
        "CI_PROJECT_ID": "5",
        "CI_MERGE_REQUEST_IID": "7",
        "KWS_REPORT_TOKEN": token,
    }
    command = [str(ROOT / ".ci" / "post-gitlab"), str(report)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("pages", [1, 2, 3], ids=["no note yet", "a note on the second page", "two full pages"])
def test_a_report_becomes_one_note_on_gitlab_with_its_pictures(pages, report, httpserver):
    place, header = "/api/v4/projects/5", {"PRIVATE-TOKEN": "secret"}
    for name in ("accuracies", "confusion"):
        answer = {"url": f"/uploads/1a/{name}.png"}
        httpserver.expect_ordered_request(f"{place}/uploads", "POST", headers=header).respond_with_json(answer)
    httpserver.expect_ordered_request("/api/v4/user", "GET", headers=header).respond_with_json({"id": 8})
    others = [{"id": n, "author": {"id": 9}, "body": REPORT} for n in range(100)]
    notes = f"{place}/merge_requests/7/notes"
    found = pages == 2
    for page in range(1, pages + 1):
        ours = [{"id": number, "author": {"id": 8}, "body": REPORT} for number in (300, 301)]
        content = others if page < pages else ours[: 2 * found]
        query = {"per_page": "100", "page": str(page)}
        httpserver.expect_ordered_request(notes, "GET", headers=header, query_string=query).respond_with_json(content)
    if found:
        httpserver.expect_ordered_request(f"{notes}/300", "PUT", headers=header).respond_with_json({})
    else:
        httpserver.expect_ordered_request(notes, "POST", headers=header).respond_with_json({})
    assert post_to_gitlab(report, httpserver) == ""
    httpserver.check_assertions()
    sent = httpserver.log[-1][0]
    [body] = parse_qs(sent.get_data(as_text=True))["body"]
    assert body == REPORT.replace("](", "](/uploads/1a/")
    assert b"accuracies" in httpserver.log[0][0].get_data() or httpserver.log[0][0].files


def test_gitlab_without_a_token_or_a_report_is_told(report, httpserver, tmp_path):
    assert post_to_gitlab(report, httpserver, token="").startswith("not posted: the variable KWS_REPORT_TOKEN is empty")
    assert post_to_gitlab(tmp_path, httpserver) == "not posted: there is no report\n"
    assert httpserver.log == []


@pytest.mark.parametrize("remote", ["", "store s3://kws\n"], ids=["no remote", "a remote"])
def test_a_runner_makes_the_results_of_both_commits_unless_there_is_a_remote(remote, tmp_path):
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(project), *identity, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def commit(text: str) -> str:
        (project / "results").write_text(f"{text}, elsewhere")
        git("add", "--all")
        git("commit", "-qm", text)
        return git("rev-parse", "HEAD")

    project = tmp_path / "project"
    (project / ".ci").mkdir(parents=True)
    git("init", "-q", "-b", "main")
    base = commit("base")
    git("checkout", "-qb", "change")
    shutil.copy(ROOT / ".ci" / "report", project / ".ci")  # the change brings it
    head = commit("change")
    git("checkout", "-q", "main")
    commit("more on main")
    git("checkout", "-q", "change")
    programs = {
        tmp_path / "bin" / "make": """#!/bin/sh
echo "$(git rev-parse HEAD) $@" >> "$LOG"
case "$1" in repro) echo "$(git log -1 --format=%s), here" > results ;; report) exit 3 ;; esac""",
        project / ".venv" / "bin" / "dvc": f"#!/bin/sh\nprintf '{remote}'",
    }
    for program, text in programs.items():
        program.parent.mkdir(parents=True)
        program.write_text(text)
        program.chmod(0o755)
    log = tmp_path / "log"
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "LOG": str(log)}
    command = [str(project / ".ci" / "report"), "main"]
    assert subprocess.run(command, env=environment, check=False).returncode == 3
    *made, last = log.read_text().splitlines()
    if remote:
        assert made == [f"{head} setup PYTHON=python3", f"{head} setup WITH=remotes"]
        assert last == f"{head} report BASE={base} GATE=1"
    else:
        assert made == [f"{head} setup PYTHON=python3", f"{base} repro", f"{head} repro"]
        results = re.fullmatch(f"{head} report BASE=([0-9a-f]+) GATE=1", last)[1]
        assert git("rev-parse", f"{results}^") == base
        assert git("show", f"{results}:results") == "base, here"
        assert git("log", "-1", "--format=%s", results) == f"{base[:7]} base, with the results of this machine"
        assert (project / "results").read_text() == "change, here\n"
