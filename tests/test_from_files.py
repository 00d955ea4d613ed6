"""Which stages of an experiment are its own, which experiments can have no run, and which a store refuses.

The runs themselves: test_remotes.
"""

import contextlib
import copy

import pytest
import yaml

from kws.commands import pull
from kws.core.errors import UserError
from kws.tracking.from_files import last_stage, record
from kws.tracking.run import STAGES


@pytest.fixture
def lock():
    """dvc.lock of an experiment that ran to its end: each stage reads what the one before it made."""
    stages = {
        name: {
            "deps": [{"path": f"{before}.out", "md5": before}, {"path": f"src/{name}", "md5": "code"}],
            "params": {"params.yaml": {"words": ["yes", "no"], name: 1}, "versions.yaml": {"numpy": "2"}},
            "outs": [{"path": f"{name}.out", "md5": name}],
        }
        for before, name in zip(("watch", *STAGES), STAGES, strict=False)
    }
    return {"schema": "2.0", "stages": {"watch": {"outs": [{"path": "watch.out", "md5": "watch"}]}} | stages}


PARAMS = {"words": ["yes", "no"]} | dict.fromkeys(STAGES, 1)


def test_an_experiment_that_ran_to_its_end_has_all_stages(lock):
    assert last_stage(lock, PARAMS) == "project"


def test_an_experiment_that_ended_early_has_the_stages_that_ran_with_its_parameters(lock):
    assert last_stage(lock, PARAMS | {"export": 2}) == "evaluate"
    assert last_stage(lock, {name: value for name, value in PARAMS.items() if name != "train"}) == "featurize"
    assert last_stage(lock, PARAMS | {"words": ["no", "yes"]}) is None


@pytest.mark.parametrize(("made", "last"), [("evaluate", "evaluate"), ("download", "download"), ("watch", None)])
def test_a_stage_that_read_what_its_baseline_made_is_not_its_own(lock, made, last):
    changed = copy.deepcopy(lock)
    changed["stages"][made]["outs"][0]["md5"] = "other"
    assert last_stage(changed, PARAMS) == last


def test_a_stage_that_never_ran_ends_the_experiment(lock):
    del lock["stages"]["export"]
    assert last_stage(lock, PARAMS) == "evaluate"


def test_an_experiment_of_another_kws_gets_no_run_but_a_reason(tmp_path, defaults, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "")  # which record sets
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "")
    params = defaults | {"words": list(defaults["words"])}
    del params["mel_bins"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert record(tmp_path, "old", "abc") == "params.yaml: mel_bins: is missing"


def test_an_experiment_without_a_training_gets_no_run_but_a_reason(tmp_path, write_params, lock, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "")
    write_params()
    lock["stages"] = {name: lock["stages"][name] | {"params": {}} for name in ("watch", "download", "featurize")}
    lock["stages"]["watch"]["outs"] = []
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert record(tmp_path) == "dvc.lock has no training with these parameters"


@pytest.fixture
def record_all(tmp_path, monkeypatch):
    """Runs `record_all` on three experiments; MLflow's store refuses those that are named, with these reasons."""
    names = ("ada", "bob", "cem")

    def run(refused: dict[str, str]) -> list[str]:
        asked = []

        def refuse(_folder, name, _baseline):
            asked.append(name)
            if name in refused:
                raise UserError(refused[name])
            return "logged"

        monkeypatch.setattr(pull, "record", refuse)
        monkeypatch.setattr(pull, "Repo", contextlib.nullcontext)
        monkeypatch.setattr(pull, "experiments", lambda _: [(name, "abc", name) for name in names])
        monkeypatch.setattr(pull, "copy_files", lambda *_: None)
        monkeypatch.setattr(pull.paths, "project_root", lambda: tmp_path)
        try:
            pull.record_all()
        finally:
            run.asked = asked

    return run


def test_a_store_that_refuses_one_experiment_gets_the_others(record_all, capsys):
    with pytest.raises(UserError, match=r"^ada: too long$"):
        record_all({"ada": "too long"})
    assert capsys.readouterr().out == "MLflow: 3 runs made from files (this workspace, bob, cem); 0 were there\n"


def test_a_store_that_gives_the_same_reason_twice_is_not_asked_again(record_all):
    with pytest.raises(UserError, match=r"^gone$"):
        record_all(dict.fromkeys(("", "ada", "bob", "cem"), "gone"))
    assert record_all.asked == ["", "ada"]
