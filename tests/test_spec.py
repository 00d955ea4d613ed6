"""The file that says what the features are: the trained model has it inside, so its bytes are the model's."""

import json

import pytest
from conftest import FRONT_END, make_spec

from kws.core.errors import UserError
from kws.core.files import write_json
from kws.records.spec import FeatureSpec

SPEC = make_spec(train=5, test=2)


def test_the_json_has_the_front_end_then_the_data_then_classes_and_clips_in_this_order():
    assert list(SPEC.to_json().items()) == [
        *FRONT_END.to_json().items(),
        ("dataset", "mine"),
        ("test_dataset", "theirs"),
        ("synthetic", True),
        ("test_synthetic", False),
        ("classes", ["yes", "no"]),
        ("clips", {"train": 5, "test": 2}),
    ]


def test_what_was_written_is_read_again(tmp_path):
    write_json(tmp_path / "spec.json", SPEC.to_json())
    read = FeatureSpec.read(tmp_path / "spec.json")
    assert read == SPEC
    assert json.dumps(read.to_json()) == json.dumps(SPEC.to_json())


def test_a_spec_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"spec.json is not here: run dvc repro"):
        FeatureSpec.read(tmp_path / "spec.json")
