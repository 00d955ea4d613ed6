import io

import numpy as np
import pytest
import soundfile
from conftest import tone

from kws.audio.decode import read_blocks
from kws.audio.mono import UnusableClipError
from kws.audio.pcm import SUBTYPES, PcmFormat, PcmStream


def stereo(rate: int) -> np.ndarray:
    return np.stack([1.2 * tone(300, rate), 0.8 * tone(300, rate)], axis=1)


def raw(samples: np.ndarray, rate: int, width: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, SUBTYPES[width], "LITTLE", "RAW")
    return file.getvalue()


def whole(stream: PcmStream, chunks: list[bytes]) -> np.ndarray:
    return np.concatenate([*(block for chunk in chunks for block in stream.blocks(chunk)), stream.rest()])


@pytest.mark.parametrize("width", SUBTYPES)
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_chunks_give_the_samples_that_a_file_of_the_same_gives(rate, width):
    samples = stereo(rate)
    pcm = PcmFormat(rate, width, 2)
    content = raw(samples, rate, width)
    size = 777 * pcm.bytes_at_once
    heard = whole(PcmStream(pcm, 16_000), [content[first : first + size] for first in range(0, len(content), size)])
    file = io.BytesIO()
    soundfile.write(file, samples, rate, SUBTYPES[width], format="WAV")
    file.seek(0)
    expected = np.concatenate(list(read_blocks(file, 16_000)))
    assert len(heard) == 16_000
    np.testing.assert_allclose(heard, expected, atol=1e-6)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.03)


def test_a_long_chunk_comes_in_blocks_of_a_second():
    stream = PcmStream(PcmFormat(8000, 2, 1), 8000)
    assert [len(block) for block in stream.blocks(bytes(2 * 20_000))] == [8000, 8000, 4000]
    assert not len(stream.rest())


def test_channels_that_cancel_each_other_are_remarked():
    sound = tone(300)
    stream = PcmStream(PcmFormat(16_000, 2, 2), 16_000)
    heard = whole(stream, [raw(np.stack([sound, -sound], axis=1), 16_000, 2)])
    np.testing.assert_allclose(heard, sound, atol=1e-4)
    assert stream.remarks == ["channel 1 of 2 alone: the channels cancel each other"]


@pytest.mark.parametrize(
    ("pcm", "told"),
    [
        ((16_000, 5, 1), "samples of 5 bytes; 1, 2, 3, 4 are known"),
        ((16_000, 2, 0), "0 channels"),
        ((16_000, 2, 65), "65 channels, more than 64"),
        ((999, 2, 1), "a sample rate of 999 Hz"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused(pcm, told):
    with pytest.raises(UnusableClipError) as refused:
        PcmFormat(*pcm)
    assert str(refused.value) == told
