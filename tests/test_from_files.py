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
from kws.tracking.refusal import RefusedRunError, is_of_run
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


def refusal(code):
    """An error of MLflow with this code."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos import databricks_pb2

    return MlflowException("no, thanks", error_code=getattr(databricks_pb2, code))


def test_what_mlflow_does_not_take_of_a_run_is_told_from_a_store_that_cannot_be_used():
    assert is_of_run(refusal("INVALID_PARAMETER_VALUE"))
    for error in (refusal("INTERNAL_ERROR"), refusal("UNAUTHENTICATED"), refusal("PERMISSION_DENIED"), OSError("gone")):
        assert not is_of_run(error)


@pytest.fixture
def results(tmp_path, monkeypatch) -> dict[str, str | Exception]:
    """What becomes of the workspace, whose name is empty, and of three experiments: tests change it."""
    answers: dict[str, str | Exception] = dict.fromkeys(("", "ada", "bob", "cem"), "logged")

    def answer(_folder, name="", _baseline=""):
        if isinstance(answers[name], Exception):
            raise answers[name]
        return answers[name]

    monkeypatch.setattr(pull, "record", answer)
    monkeypatch.setattr(pull, "Repo", contextlib.nullcontext)
    monkeypatch.setattr(pull, "experiments", lambda _: [(name, "abc", name) for name in answers if name])
    monkeypatch.setattr(pull, "copy_files", lambda *_: None)
    monkeypatch.setattr(pull.paths, "project_root", lambda: tmp_path)
    return answers


def test_a_store_that_refuses_some_runs_gets_the_others(results, capsys):
    results |= {"": RefusedRunError("too long"), "ada": RefusedRunError("too long"), "bob": "of an older kws"}
    with pytest.raises(RefusedRunError, match=r"^MLflow refused 2 of 4 runs: see above$"):
        pull.record_all()
    assert capsys.readouterr().out.splitlines() == [
        "MLflow: 1 runs made from files (cem); 0 were there",
        *("left out: this workspace: too long", "left out: ada: too long", "left out: bob: of an older kws"),
    ]


def test_a_store_that_cannot_be_used_ends_it(results):
    results["ada"] = UserError("gone")
    results["bob"] = AssertionError("it was asked again")
    with pytest.raises(UserError, match=r"^gone$"):
        pull.record_all()
