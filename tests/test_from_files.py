"""Which stages of an experiment are its own, and which experiments can have no run. The runs: test_remotes."""

import copy

import pytest
import yaml

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
