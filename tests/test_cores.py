"""What evaluate writes does not depend on the machine's cores."""

import io
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from kws.core import paths
from kws.core.files import write_csv, write_json
from kws.records.spec import FeatureSpec
from kws.train.litert import calibration_clips, network_file, network_int8_file
from kws.train.networks import NETWORKS

RATE = 16_000


@pytest.fixture
def project(tmp_path, monkeypatch, write_params):
    """A project in which evaluate can run: 60 speakers who say two words, and a network that has learnt nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("KWS_TRACKING", "off")
    rng = np.random.default_rng(0)
    with tarfile.open("mine.tar", "w") as tar:
        for speaker in range(60):
            for word in ("no", "yes"):
                file = io.BytesIO()
                soundfile.write(file, rng.normal(scale=0.1, size=RATE).clip(-1, 1), RATE, format="WAV")
                info = tarfile.TarInfo(f"{word}/{speaker:03d}_nohash_0.wav")
                info.size = file.tell()
                file.seek(0)
                tar.addfile(info, file)
    settings = {"dataset": "mine.tar", "words": ["no", "yes"], "stream_minutes": 2}
    write_params(**settings)
    for stage in ("download", "featurize"):
        runpy.run_path(str(ROOT / "stages" / f"{stage}.py"))["main"]()
    spec = FeatureSpec.read(paths.SPEC)
    network = NETWORKS["tc_resnet"](spec.front_end.frames, spec.front_end.mel_bins, 2, 1.0)
    paths.NETWORK.parent.mkdir()
    paths.NETWORK.write_bytes(network_file(network))
    paths.NETWORK_INT8.write_bytes(network_int8_file(network, calibration_clips(paths.FEATURES, spec)))
    curves = {f"{split}_{name}": 0.5 for split in ("train", "validation") for name in ("loss", "accuracy")}
    write_csv(paths.HISTORY, [{"epoch": 1} | curves], ["epoch", *curves])
    write_json(paths.METRICS / "train.json", {"best_epoch": 1})
    return lambda threads: write_params(**settings, threads=threads)


def evaluated(*prefix: str) -> dict[str, bytes]:
    """The files that evaluate writes."""
    command = [*prefix, sys.executable, str(ROOT / "stages" / "evaluate.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    files = [paths.ANSWERS, paths.METRICS / "evaluate.json", *(paths.PLOTS / "evaluate").iterdir()]
    content = {str(path): path.read_bytes() for path in files}
    shutil.rmtree(paths.PLOTS / "evaluate")
    paths.ANSWERS.unlink()
    return content


@pytest.mark.skipif(not shutil.which("taskset"), reason="needs taskset (util-linux)")
def test_evaluate_writes_the_same_bytes_on_one_core_and_on_all(project):
    project(threads=1)
    one = evaluated("taskset", "-c", str(min(os.sched_getaffinity(0))))
    project(threads=3)
    assert evaluated() == one
    assert str(Path("data/answers.npz")) in one
