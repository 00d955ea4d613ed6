import io

import numpy as np
import pytest
import soundfile
from threadpoolctl import threadpool_limits

from kws.features import BLAS_THREADS, CLIPS_A_TASK, TASKS_AHEAD, compute, compute_all
from kws.frontend import FrontEnd

FRONT_END = FrontEnd(16_000, 16_000, 1024, 256, 1024, 80, 20.0, 7600.0, 1e-7)


def wav(seed: int, samples: int = 16_000, gain: float = 0.1) -> bytes:
    file = io.BytesIO()
    sound = gain * np.random.default_rng(seed).normal(size=samples)
    soundfile.write(file, sound.clip(-1, 1), 16_000, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_a_clip_does_not_know_its_neighbours_and_the_order_stays():
    recordings = [(f"{n}.wav", wav(n, 4000 + 37 * n, gain=10.0 ** (n % 4 - 3))) for n in range(2 * CLIPS_A_TASK + 3)]
    together = list(compute_all(recordings, FRONT_END))
    assert [features.name for features in together] == [name for name, _ in recordings]
    with threadpool_limits(BLAS_THREADS):
        alone = [compute(name, data, FRONT_END).log_mel for name, data in recordings]
    for features, log_mel in zip(together, alone, strict=True):
        np.testing.assert_array_equal(features.log_mel, log_mel)


def test_recordings_are_read_only_a_few_tasks_ahead(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += 1
            yield f"{drawn}.wav", b""

    stream = compute_all(endless(), FRONT_END)
    for _ in range(5 * CLIPS_A_TASK):
        next(stream)
    assert drawn <= (5 + 2 * TASKS_AHEAD + 1) * CLIPS_A_TASK
    stream.close()


@pytest.mark.parametrize(
    ("data", "reason"), [(None, "larger than 67,108,864 bytes"), (b"", "empty file"), (b"<html>", "not audio")]
)
def test_an_unusable_clip_is_set_aside_with_its_reason(data, reason):
    features = compute("x.wav", data, FRONT_END)
    assert features.log_mel is None
    assert reason in features.reason


@pytest.mark.parametrize("samples", [3200, 16_000, 80_000])
def test_every_length_gives_the_same_shape(samples):
    features = compute("x.wav", wav(1, samples), FRONT_END)
    assert features.samples == samples
    assert features.log_mel.shape == (59, 80)
