"""Where the recordings come from, as the stage download records it in data/raw/source.json."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from kws.core import paths
from kws.core.files import read_json
from kws.core.naming import is_computed
from kws.recordings.unheard import Origin


@dataclass(frozen=True)
class Archive:
    """An archive of recordings, and its origin. The fields are in the order of the JSON.

    Attributes:
        dataset: name, public address or path of the data set, as in the parameters.
        archive: name of the file.
        address: where it came from, without credentials.
        bytes: its size.
        sha256: in hex digits.
        checked: whether it was compared with a known SHA-256.
        licence: of the recordings; one of `kws.recordings.licences` where kws knows it.
    """

    dataset: str
    archive: str
    address: str
    bytes: int
    sha256: str
    checked: bool
    licence: str


@dataclass(frozen=True)
class DataSource(Archive):
    """The archive of an experiment's data set, what is in it, and the archive of the test data set.

    Attributes:
        synthetic: whether a computer speaks in it.
        speakers: how they were identified, by `kws.recordings.layout.understand`.
        words: how many clips each word has.
        clips: the number of all of them.
        test: the archive of the test data set; None: a share of the data set tests.
        test_synthetic: whether a computer speaks the test clips.
        computed: the archive of computed voices that speak beside people; None: there are none.
        other_speech: the archive of computed voices that say other words; None: real ones suffice.
        unheard: where the clips of each unheard split come from, by `kws.recordings.unheard.origins_of`.
    """

    synthetic: bool
    speakers: str
    given_splits: bool
    words: dict[str, int]
    clips: int
    test: Archive | None
    test_synthetic: bool
    computed: Archive | None
    other_speech: Archive | None
    unheard: dict[str, Origin]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The source in a file that download has written; errors as in `read_json`."""
        content = read_json(path)
        archives = ("test", "computed", "other_speech")
        more = {name: Archive(**content[name]) if content[name] else None for name in archives}
        return cls(**content | more)

    def to_json(self) -> dict[str, Any]:
        """The content of source.json."""
        return asdict(self)

    @property
    def tested(self) -> Archive:
        """The archive that holds the test clips."""
        return self.test or self

    def archive_of(self, split: str, recording: str = "") -> Path:
        """Where the archive lies that holds a recording of a split, of `SPLITS` or `UNHEARD`.

        Args:
            split: of the recording.
            recording: its name, since computed voices that speak beside people have an archive of their own. Empty:
                any that is not of these.
        """
        if self.computed and is_computed(recording):
            return paths.RAW / self.computed.archive
        origin = self.unheard.get(split, "test_dataset" if split == "test" and self.test else "dataset")
        if origin == "computed" and self.other_speech:
            return paths.RAW / self.other_speech.archive
        if origin == "test_dataset" and self.test:
            return paths.TEST_RAW / self.test.archive
        return paths.RAW / self.archive
