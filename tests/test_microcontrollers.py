"""The C++ of examples/micro against the Python that it stands for."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import FRONT_END, ROOT, tone

from kws.export import flatbuffer
from kws.export.c_header import header
from kws.spotting import litert
from kws.spotting.detect import Timing, detections

COMPILER = shutil.which("c++") or shutil.which("g++")
TIMING = Timing.of(FRONT_END.clip_samples, FRONT_END.hop_length)
CLASSES = ["low", "_silence_", "high"]
ABOUT = {"classes": CLASSES, "threshold": 0.7, "sensitivities": {}, "front_end": FRONT_END.to_json()}
KINDS = {"features": ABOUT, "stream_features": ABOUT | {"step_frames": TIMING.step_frames}}

pytestmark = pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler")


@pytest.fixture
def compiled(tmp_path, exported_causal):
    """Compiles a program with the example's headers, and kws_model.h of a kind of file; returns what runs it."""

    def compile_it(program: str, kind: str = "features"):
        about = {"kind": kind} | KINDS[kind]
        model = flatbuffer.join([(exported_causal / litert.KINDS[kind]).read_bytes()], about)
        (tmp_path / "kws_model.h").write_text(header(model, FRONT_END), encoding="utf-8")
        (tmp_path / "program.cc").write_text(program)
        command = [COMPILER, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-const-variable"]
        command += ["-Wno-unused-variable", f"-I{tmp_path}", f"-I{ROOT / 'examples/micro'}"]
        command += [str(tmp_path / "program.cc"), "-o", str(tmp_path / "program")]
        subprocess.run(command, check=True)

        def run(values: np.ndarray) -> subprocess.CompletedProcess[bytes]:
            program = tmp_path / "program"
            return subprocess.run([program], input=values.tobytes(), capture_output=True, check=True)

        return run

    return compile_it


DETECT = """
#include <cstdio>
#include "listener.h"
int main() {
  kws::Detector detector(KWS_THRESHOLD);
  kws::Detection found;
  float probabilities[KWS_CLASSES];
  for (int window = 0; std::fread(probabilities, sizeof probabilities, 1, stdin) == 1; ++window) {
    if (detector.Hear(probabilities, &found)) std::printf("%d %d %.9g\\n", window, found.word, found.score);
  }
}
"""


def test_the_rule_is_that_of_python(compiled):
    run = compiled(DETECT)
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(scale=0.7, size=(20_000, 3)), axis=0) - 0.3 * np.arange(3)
    walks -= walks.mean(axis=1, keepdims=True)
    probabilities = (np.exp(2 * np.sin(walks)) / np.exp(2 * np.sin(walks)).sum(axis=1, keepdims=True)).astype(
        np.float32
    )
    expected = [
        (one.window, one.word, one.score)
        for one in detections(probabilities, [0, 2], TIMING, float(np.float32(ABOUT["threshold"])))
    ]
    found = [line.split() for line in run(probabilities).stdout.decode().splitlines()]
    assert [(int(window), int(word)) for window, word, _ in found] == [(window, word) for window, word, _ in expected]
    assert [float(score) for *_, score in found] == pytest.approx([score for *_, score in expected])
    assert {word for _, word, _ in expected} == {0, 2}
    assert len(expected) > 100


# The newest frame alone tells the word, so that a clip's frames and a step's give the same answer.
LISTEN = """
#include <cstdio>
#include "listener.h"
struct Newest {
  float probabilities[KWS_CLASSES];
  const float* operator()(const float* log_mel) {
    std::fwrite(log_mel, sizeof(float), KWS_INPUT_FRAMES * KWS_MEL_BINS, stdout);
    const float* frame = log_mel + (KWS_INPUT_FRAMES - 1) * KWS_MEL_BINS;
    float low = 0, high = 0;
    for (int i = 0; i < KWS_MEL_BINS; ++i) (i < KWS_MEL_BINS / 2 ? low : high) += frame[i] / KWS_MEL_BINS;
    probabilities[0] = low > high + 1 ? 0.9f : 0.1f;
    probabilities[1] = 0.95f;
    probabilities[2] = high > low + 1 ? 0.9f : 0.1f;
    return probabilities;
  }
};
int main() {
  Newest network;
  static kws::Listener<Newest> listener(network, KWS_THRESHOLD);
  kws::Detection found;
  float sample;
  for (long samples = 1; std::fread(&sample, sizeof sample, 1, stdin) == 1; ++samples) {
    if (listener.Hear(sample, &found)) std::fprintf(stderr, "%ld %d\\n", samples, found.word);
    if (samples == RESET) listener.Reset();
  }
}
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_of_samples_becomes_the_steps_and_the_words_of_python(compiled, kind):
    rng = np.random.default_rng(1)
    sound = np.concatenate([tone(hertz) for hertz in (0, 0, 300, 0, 3000, 0)])
    sound += rng.normal(scale=1e-3, size=len(sound)).astype(np.float32)
    run = compiled(LISTEN.replace("RESET", "0"), kind)
    printed = run(sound)
    length = KINDS[kind].get("step_frames", FRONT_END.frames)
    heard = np.frombuffer(printed.stdout, np.float32).reshape(-1, length, FRONT_END.mel_bins)

    log_mel = FRONT_END.log_mel(sound)
    first = FRONT_END.frames % TIMING.step_frames  # frames of the first step: the fourth step after it ends with a clip
    ends = range(first, len(log_mel) + 1, TIMING.step_frames)
    padded = np.pad(log_mel, ((length, 0), (0, 0)))
    expected = np.stack([padded[end : end + length] for end in ends])
    np.testing.assert_allclose(heard, expected, atol=1e-3)

    windows = [_answer(log_mel[end - 1]) for end in ends if end >= FRONT_END.frames]
    told = [line.split() for line in printed.stderr.decode().splitlines()]
    samples = [
        (
            one.window * TIMING.step_samples + (FRONT_END.frames - 1) * FRONT_END.hop_length + FRONT_END.frame_length,
            one.word,
        )
        for one in detections(windows, [0, 2], TIMING, ABOUT["threshold"])
    ]
    assert [(int(sample), int(word)) for sample, word in told] == samples
    assert [word for _, word in samples] == [0, 2]


def _answer(frame: np.ndarray) -> np.ndarray:
    low, high = frame[:20].sum() / 40, frame[20:].sum() / 40
    return np.array([0.9 if low > high + 1 else 0.1, 0.95, 0.9 if high > low + 1 else 0.1])


# Stands for LiteRT for Microcontrollers, whose headers no package brings: the network tells a word by the newest frame.
LIBRARY = """
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include "kws_model.h"
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
#define TF_LITE_ENSURE_STATUS(a) do { if ((a) != kTfLiteOk) return kTfLiteError; } while (false)
struct TfLiteTensor { struct { float* f; } data; };
namespace tflite {
struct Model {};
inline const Model* GetModel(const void* content) { return content == kws_model ? new Model : nullptr; }
struct MicroAllocator {
  static MicroAllocator* Create(uint8_t*, size_t) { return new MicroAllocator; }
};
struct MicroResourceVariables {
  int count;
  static MicroResourceVariables* Create(MicroAllocator*, int count) { return new MicroResourceVariables{count}; }
};
template <unsigned operators> struct MicroMutableOpResolver {
  ADDERS
};
struct MicroInterpreter {
  template <class Resolver>
  MicroInterpreter(const Model*, const Resolver&, MicroAllocator*, MicroResourceVariables* states) {
    std::fprintf(stderr, "states: %d\\n", states ? states->count : 0);
  }
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  size_t arena_used_bytes() const { return 12345; }
  TfLiteStatus Invoke() {
    const float* frame = log_mel + (KWS_INPUT_FRAMES - 1) * KWS_MEL_BINS;
    float low = 0, high = 0;
    for (int i = 0; i < KWS_MEL_BINS; ++i) (i < KWS_MEL_BINS / 2 ? low : high) += frame[i] / KWS_MEL_BINS;
    probabilities[0] = low > high + 1 ? 0.9f : 0.1f;
    probabilities[2] = high > low + 1 ? 0.9f : 0.1f;
    return kTfLiteOk;
  }
  TfLiteTensor* input(size_t) { return &in; }
  TfLiteTensor* output(size_t) { return &out; }
  float log_mel[KWS_INPUT_FRAMES * KWS_MEL_BINS], probabilities[KWS_CLASSES] = {};
  TfLiteTensor in = {{log_mel}}, out = {{probabilities}};
};
}  // namespace tflite
"""
HEADERS = ("micro_allocator", "micro_interpreter", "micro_mutable_op_resolver", "micro_resource_variable")


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_prints_words_as_they_come(compiled, tmp_path, kind):
    main = (ROOT / "examples/micro/main.cc").read_text()
    adders = " ".join(
        f"TfLiteStatus {name}() {{ return kTfLiteOk; }}" for name in re.findall(r"resolver\.(Add\w+)\(", main)
    )
    for name in (*(f"micro/{name}" for name in HEADERS), "schema/schema_generated"):
        path = tmp_path / "tensorflow" / "lite" / f"{name}.h"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('#include "library.h"')
    (tmp_path / "library.h").write_text(LIBRARY.replace("ADDERS", adders))
    run = compiled(main, kind)
    sound = np.concatenate([tone(hertz) for hertz in (0, 0, 300, 0, 3000, 0)])
    done = run((sound * 32_767).astype("<i2"))
    words = [line.split() for line in done.stdout.decode().splitlines()]
    assert [(word, score) for _, _, word, score in words] == [("low", "0.900"), ("high", "0.900")]
    assert [float(seconds) for seconds, *_ in words] == pytest.approx([2.67, 4.67], abs=0.2)
    states = 2 if kind == "stream_features" else 0
    assert done.stderr.decode().splitlines() == [f"states: {states}", "arena: 12345 bytes"]


def test_after_a_reset_nothing_is_told_before_a_clips_length_was_heard(compiled):
    said = 0.5 * np.sin(2 * np.pi * 300 * np.arange(10_000) / 16_000)
    sound = np.concatenate([tone(0), said, tone(0)[:2000]]).astype(np.float32)
    run = compiled(LISTEN.replace("RESET", "0"), "stream_features")
    assert b" 0\n" in run(sound).stderr
    run = compiled(LISTEN.replace("RESET", "20000"), "stream_features")
    assert run(sound).stderr == b""
