"""One front end, five times the same numbers: 64 bits, NumPy, TensorFlow, LiteRT, and C++ on a device."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import make_golden
import numpy as np
import pytest
import tensorflow as tf
from conftest import FRONT_END, ROOT, make_front_end

from kws.audio.frontend import FrontEnd
from kws.export import flatbuffer
from kws.export.c_header import header
from kws.export.convert import front_end_model
from kws.spotting.litert import Network
from kws.train.litert import to_litert

COMPILER = shutil.which("c++") or shutil.which("g++")
SENSITIVITIES = {name: {"threshold": value} for name, value in (("few_misses", 0.5), ("few_false_alarms", 0.9))}
ABOUT = {"kind": "features", "classes": ["yes", "été 'n"], "threshold": 0.7, "sensitivities": SENSITIVITIES}


@pytest.fixture(params=list(make_golden.SPECS))
def golden(request) -> tuple[np.ndarray, FrontEnd, np.ndarray]:
    """A waveform, a front end, and the log-Mel that it must give."""
    with np.load(make_golden.GOLDEN) as file:
        spec = json.loads(str(file["specs"]))[request.param]
        return (file["waveform"] / 32_768).astype(np.float32), make_front_end(**spec), file[request.param]


def test_the_file_is_what_its_command_makes(golden):
    waveform, front_end, expected = golden
    spec = {
        name: value for name, value in front_end.to_json().items() if name not in ("frames", "kind", "lead", "margin")
    }
    np.testing.assert_allclose(make_golden.log_mel(waveform, **spec), expected, atol=1e-5)
    assert expected.shape == (front_end.frames, front_end.mel_bins)
    assert np.ptp(expected) > 10  # from silence to a loud tone


def test_numpy(golden):
    waveform, front_end, expected = golden
    np.testing.assert_allclose(front_end.log_mel(waveform), expected, atol=1e-4)


def test_tensorflow(golden):
    waveform, f, expected = golden
    power = tf.abs(tf.signal.stft(waveform, f.frame_length, f.hop_length, f.fft_length)) ** 2
    bins = f.fft_length // 2 + 1
    weights = tf.signal.linear_to_mel_weight_matrix(f.mel_bins, bins, f.sample_rate, f.mel_low_hz, f.mel_high_hz)
    np.testing.assert_allclose(tf.math.log(power @ weights + f.log_offset), expected, atol=2e-4)
    np.testing.assert_allclose(front_end_model(f)(waveform[None])[0, :, :, 0], expected, atol=1e-4)


def test_litert(golden):
    waveform, front_end, expected = golden
    content = flatbuffer.join([to_litert(front_end_model(front_end))], {})
    log_mel = Network(content).probabilities(waveform)
    np.testing.assert_allclose(log_mel[..., 0], expected, atol=1e-4)
    assert not [name for name in flatbuffer.operators(content) if name.startswith(("CUSTOM", "FLEX"))]


def test_the_header_of_a_stream_says_what_it_takes_and_keeps(exported_causal):
    model = (exported_causal / "kws_stream_features.tflite").read_bytes()
    lines = header(model, FRONT_END).splitlines()
    assert "#define KWS_INPUT_FRAMES 4  /* that the model takes at a time */" in lines
    assert "#define KWS_FRAMES 49" in lines
    assert "#define KWS_STATES 2  /* of the model */" in lines
    assert "/* kws_stream_features.tflite */" in lines
    assert any("of these frames: the newest ones, since it keeps a state." in line for line in lines)


def write_header(folder: Path, front_end: FrontEnd) -> bytes:
    """A header as the export stage writes it; the front end itself stands for the network."""
    part = to_litert(front_end_model(front_end))
    model = flatbuffer.join([part], ABOUT | {"front_end": front_end.to_json()})
    (folder / "kws_model.h").write_text(header(model, front_end), encoding="utf-8")
    return model


@pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler")
def test_cpp(golden, tmp_path):
    waveform, front_end, expected = golden
    write_header(tmp_path, front_end)
    program = tmp_path / "program.cc"
    program.write_text("""
#include <cstdio>
#include "front_end.h"
int main() {
  static float clip[KWS_CLIP_SAMPLES], log_mel[KWS_FRAMES * KWS_MEL_BINS];
  if (std::fread(clip, sizeof clip, 1, stdin) != 1) return 1;
  kws::LogMel(clip, log_mel);
  return std::fwrite(log_mel, sizeof log_mel, 1, stdout) != 1;
}
""")
    command = [COMPILER, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-const-variable"]
    command += [f"-I{tmp_path}", f"-I{ROOT / 'examples/micro'}", str(program), "-o", str(tmp_path / "program")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if front_end.fft_length & (front_end.fft_length - 1):
        assert "this FFT takes powers of two: set fft_length to one" in built.stderr
        return
    assert built.returncode == 0, built.stderr
    done = subprocess.run([tmp_path / "program"], input=waveform.tobytes(), capture_output=True, check=True)
    log_mel = np.frombuffer(done.stdout, np.float32).reshape(expected.shape)
    np.testing.assert_allclose(log_mel, expected, atol=1e-4)


@pytest.mark.skipif(not COMPILER, reason="needs a C compiler")
def test_the_header_is_c_and_holds_the_model_the_classes_and_the_constants(tmp_path):
    front_end = make_front_end(**make_golden.COMMON, **make_golden.SPECS["presets"])
    model = write_header(tmp_path, front_end)
    program = tmp_path / "program.c"
    program.write_text(r"""
#include <stdio.h>
#include "kws_model.h"
int main(void) {
  fwrite(kws_model, kws_model_bytes, 1, stdout);
  for (int i = 0; i < KWS_CLASSES; ++i) fprintf(stderr, "%s\n", kws_classes[i]);
  fprintf(stderr, "%d %d %g %g %g\n", KWS_SAMPLE_RATE, KWS_FRAMES, KWS_THRESHOLD_FEW_MISSES, KWS_THRESHOLD,
          KWS_THRESHOLD_FEW_FALSE_ALARMS);
  fprintf(stderr, "%d %d %d %d %d\n", KWS_INPUT_FRAMES, KWS_STATES, KWS_STEP_FRAMES, KWS_HELD, KWS_APART);
  return ((unsigned long)kws_model) % 16;
}
""")
    subprocess.run([COMPILER, "-x", "c", "-std=c11", f"-I{tmp_path}", program, "-o", tmp_path / "program"], check=True)
    done = subprocess.run([tmp_path / "program"], capture_output=True, check=True)
    assert done.stdout == model
    assert done.stderr.decode().splitlines() == ["yes", "été 'n", "16000 24 0.5 0.7 0.9", "24 0 4 3 7"]


@pytest.mark.skipif(not COMPILER or "TFLM" not in os.environ, reason="needs a checkout of tflite-micro, named by TFLM")
def test_the_example_for_microcontrollers_compiles(tmp_path):
    write_header(tmp_path, make_front_end(**make_golden.COMMON, **make_golden.SPECS["presets"]))
    there = Path(os.environ["TFLM"])
    folders = [tmp_path, there, there / "third_party/flatbuffers/include", there / "third_party/gemmlowp"]
    command = [COMPILER, "-std=c++17", "-fsyntax-only", *(f"-I{folder}" for folder in folders)]
    command.append(str(ROOT / "examples/micro/main.cc"))
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
