from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SOURCE, TEST_ARCHIVE

from kws.core.errors import UserError
from kws.core.files import write_json
from kws.recordings.source import DataSource

WITH_TEST = replace(SOURCE, test=TEST_ARCHIVE)


def test_the_json_is_flat_but_for_the_archive_of_the_test_data_set():
    archive = ["dataset", "archive", "address", "bytes", "sha256", "checked", "licence"]
    content = WITH_TEST.to_json()
    own = ["synthetic", "speakers", "given_splits", "words", "clips", "test", "test_synthetic"]
    assert list(content) == [*archive, *own]
    assert list(content["test"]) == archive
    assert SOURCE.to_json() == content | {"test": None}


@pytest.mark.parametrize("source", [SOURCE, WITH_TEST], ids=["a share tests", "a data set tests"])
def test_what_was_written_is_read_again(tmp_path, source):
    write_json(tmp_path / "source.json", source.to_json())
    assert DataSource.read(tmp_path / "source.json") == source


def test_a_source_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"source.json is not here: run dvc repro"):
        DataSource.read(tmp_path / "source.json")


def test_a_test_data_set_holds_the_test_clips_and_the_unheard_words():
    assert WITH_TEST.archive_of("train") == WITH_TEST.archive_of("validation") == Path("data/raw/a.tar.gz")
    assert WITH_TEST.archive_of("test") == WITH_TEST.archive_of("unheard") == Path("data/raw/test/mine.zip")
    assert SOURCE.archive_of("test") == Path("data/raw/a.tar.gz")
    assert (WITH_TEST.tested, SOURCE.tested) == (TEST_ARCHIVE, SOURCE)
