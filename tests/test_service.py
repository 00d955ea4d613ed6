"""The registered model, asked as MLflow's server asks it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import requests
from conftest import SOURCE, tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kws.audio.frontend import FrontEnd
from kws.core import paths
from kws.core.files import write_json
from kws.evaluate.answers import Answers, write_answers
from kws.records.spec import FeatureSpec
from kws.tracking import serve
from kws.train import models

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # MLflow, of SQLAlchemy
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),  # MLflow, of itself
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small_spotter: Path, empty_store: Path) -> Path:
    """A project whose model was registered, then exported with other names of the classes, and registered again."""
    root = tmp_path_factory.mktemp("project")
    shutil.copy(empty_store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.chdir(root)
        paths.EXPORT.mkdir(parents=True)
        content = small_spotter.read_bytes()
        assert content.count(b'"classes": ["yes", "no"]') == 1
        paths.MODEL.write_text("the network")
        write_json(paths.SOURCE, SOURCE.to_json())
        one = np.zeros(1, np.int64)
        answers = Answers(np.array(["a.wav"]), np.array(["al"]), one, np.eye(2, dtype=np.float32)[:1], np.zeros((1, 3)))
        for path in (paths.ANSWERS, paths.VALIDATION):
            write_answers(path, answers, ["yes", "no"], synthetic=True)
        import mlflow

        from kws.tracking.recorder import Recorder

        with mlflow.start_run():
            texts = []
            for classes in (b'["YES", "NO"]', b'["yes", "no"]', b'["yes", "no"]'):
                paths.SPOTTER.write_bytes(content.replace(b'["yes", "no"]', classes))
                recorder = Recorder()
                recorder.register("# Card")
                texts.append(recorder.answer()["registered"])
        chosen = "the first network; test accuracy 100.0%, 95 % interval 0.0% to 100.0%"
        first = f"registered as kws version 1, the champion: there was none; {chosen}"
        second = f"registered as kws version 2, the champion: it is the network of version 1, exported anew; {chosen}"
        assert texts == [first, second, second]
    return root


@pytest.fixture(scope="module")
def model(project: Path) -> Any:
    """The champion, as a server loads it."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
        return mlflow.pyfunc.load_model("models:/kws@champion")


@pytest.fixture
def waveforms() -> np.ndarray:
    """Two clips of noise, float32 (2, 400)."""
    return np.random.default_rng(0).normal(0, 0.1, (2, 400)).astype(np.float32)


def test_the_answer_is_the_networks_to_what_the_front_end_makes_of_the_waveform(
    model: Any, waveforms: np.ndarray, networks: list[Path]
) -> None:
    network, spec = models.load_model(networks[0])
    log_mel = np.stack([spec.front_end.log_mel(waveform) for waveform in waveforms])[..., None]
    _, expected = models.embedding_and_probabilities(network)(log_mel)
    answers = model.predict(waveforms)
    assert [list(answer["probabilities"]) for answer in answers] == [["yes", "no"]] * 2
    found = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [answer["label"] for answer in answers] == [["yes", "no"][row.argmax()] for row in expected]


def test_the_model_holds_signature_example_spec_code_and_requirements(model: Any, small_spec: FeatureSpec) -> None:
    about = model.metadata
    assert about.metadata["classes"] == ["yes", "no"]
    assert FrontEnd.from_json(about.metadata["front_end"]) == small_spec.front_end
    [waveforms] = about.signature.inputs.inputs
    assert (waveforms.type, waveforms.shape) == (np.dtype(np.float32), (-1, 400))
    assert [column.name for column in about.signature.outputs.inputs] == ["label", "probabilities"]
    folder = Path(model._model_impl.context.artifacts["network"]).parent.parent
    example = json.loads((folder / "serving_input_example.json").read_text())
    assert np.shape(example["inputs"]) == (1, 400)
    assert (folder / "code" / "kws" / "spotting" / "spotter.py").exists()
    required = {line.partition("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert required == {"mlflow", "ai-edge-litert", "numpy"}


def test_a_model_with_the_front_end_of_devices_takes_waveforms_too(exported_micro: Path) -> None:
    from kws.spotting.service import Service

    service = Service()
    service.load_context(SimpleNamespace(artifacts={"network": str(exported_micro / "kws.tflite")}))
    answers = service.predict(np.stack([tone(300), tone(3000)]).astype(np.float32))
    assert [answer["label"] for answer in answers] == ["low", "high"]


CLIP = [0.1] * 400
MALFORMED = {
    "too short": ({"inputs": [[0.1] * 5]}, r"Shape of input \(1, 5\) does not match expected shape \(-1, 400\)"),
    "too long": ({"inputs": [[*CLIP, 0.1]]}, r"Shape of input \(1, 401\) does not match"),
    "no list of clips": ({"inputs": CLIP}, r"Shape of input \(400,\) does not match"),
    "one clip too deep": ({"inputs": [[CLIP]]}, r"Shape of input \(1, 1, 400\) does not match"),
    "clips of two lengths": ({"instances": [CLIP, CLIP[1:]]}, "inhomogeneous shape"),
    "no clip": ({"inputs": []}, "Failed to enforce schema of data '\\[\\]'"),
    "words": ({"inputs": [["a"] * 400]}, "could not convert string to float: 'a'"),
    "objects": ({"inputs": [[{}] * 400]}, "must be a string or a real number, not 'dict'"),
    "nulls": ({"inputs": [[None] * 400]}, "clip 0: samples that are not numbers, or infinite"),
    "NaN in the second clip": ({"inputs": [CLIP, [*CLIP[1:], float("nan")]]}, "clip 1: samples that are not numbers"),
    "infinite": ({"inputs": [[*CLIP[1:], float("-inf")]]}, "clip 0: samples that are not numbers, or infinite"),
    "16-bit integers": ({"inputs": [[-1000] * 400]}, "a sample of 1000, but full scale is 1: divide 16-bit integers"),
    "another key": ({"waveforms": [CLIP]}, "exactly one of the input fields"),
    "a list alone": ([CLIP], "must be a JSON dictionary"),
    "a table": ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "Failed to enforce schema"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_request_gets_a_400_that_says_why(model: Any, case: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    content, reason = MALFORMED[case]
    with pytest.raises(MlflowException, match=reason) as caught:
        invocations(json.dumps(content), "application/json", model, model.metadata.get_input_schema())
    assert caught.value.get_http_status_code() == 400


def test_an_empty_array_is_refused_too(model: Any) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="no clip: give at least one waveform"):
        model.predict(np.zeros((0, 400), np.float32))


@pytest.fixture(scope="module")
def served(project: Path) -> Any:
    """The address at which what `make serve` starts answers, in a folder without kws and without a way out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= nowhere | {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db", "no_proxy": "127.0.0.1"}
    command = serve.serving(str(port))
    with (project / "served.txt").open("w") as log:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert server.poll() is None, (project / "served.txt").read_text()
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{address}/ping", timeout=60).raise_for_status()
                break
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def test_mlflow_serves_the_champion_without_a_network(served: str, model: Any, waveforms: np.ndarray) -> None:
    answer = requests.post(f"{served}/invocations", json={"inputs": waveforms.tolist()}, timeout=60)
    refused = requests.post(f"{served}/invocations", json={"inputs": [[0.5]]}, timeout=60)
    assert answer.status_code == 200, answer.text
    for found, expected in zip(answer.json()["predictions"], model.predict(waveforms), strict=True):
        assert set(found["probabilities"]) == {"yes", "no"}  # as the last export has them
        assert found["label"] == expected["label"]
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-6)
    assert refused.status_code == 400
    assert "does not match expected shape (-1, 400)" in refused.json()["message"]


JSON = "application/json"
BREAKING = {  # MLflow's own server answers these with status 500
    "no content type": (json.dumps({"inputs": [CLIP]}).encode(), None, 415, "no content type"),
    "too deep": (b"[" * 100_000, JSON, 400, "RecursionError"),
    "a number of 5,000 digits": (b'{"inputs": [[' + b"9" * 5000 + b"]]}", JSON, 400, "Exceeds the limit"),
}
PARQUET = "application/vnd.apache.parquet"
LARGE = 10**7  # bytes
REFUSED = {
    "samples that are no numbers": (b'{"inputs": [[' + b", ".join([b"NaN"] * 400) + b"]]}", JSON, "not numbers"),
    "infinite samples": (b'{"inputs": [[' + b", ".join([b"-1e999"] * 400) + b"]]}", JSON, "infinite"),
    "a clip of many samples": (
        b'{"inputs": [[' + b"0," * (LARGE // 2) + b"0]]}",
        JSON,
        "does not match expected shape",
    ),
    "much that is no JSON": (b"[" + b"x" * LARGE, JSON, "JSON"),
    "much that is no text": (b"\xff" * LARGE, JSON, "JSON"),
    "much that is no table": (b"\xff" * LARGE, "text/csv", "UTF-8"),
    "no Parquet": (b"PAR1" + bytes(1000) + b"PAR1", PARQUET, "parquet"),
}


def post(served: str, body: bytes, content_type: str | None) -> requests.Response:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    return requests.post(f"{served}/invocations", data=body, headers=headers, timeout=60)


@pytest.mark.parametrize("case", BREAKING)
def test_a_request_on_which_mlflow_fails_gets_a_reason(served: str, case: str) -> None:
    body, content_type, status, reason = BREAKING[case]
    answer = post(served, body, content_type)
    assert answer.status_code == status
    assert reason in answer.json()["message"]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_sound_is_refused_with_a_reason_and_the_next_request_is_answered(
    served: str, waveforms: np.ndarray, case: str
) -> None:
    body, content_type, reason = REFUSED[case]
    answer = post(served, body, content_type)
    assert answer.status_code == 400, answer.text[:1000]
    assert reason in answer.text
    assert post(served, json.dumps({"inputs": waveforms.tolist()}).encode(), JSON).status_code == 200


KEYS = st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records", "params", "prompt", "messages"])
VALUES = st.floats() | st.integers() | st.none() | st.booleans() | st.text(max_size=5)
ANY_JSON = st.recursive(
    VALUES, lambda one: st.lists(one, max_size=5) | st.dictionaries(KEYS | st.text(max_size=3), one, max_size=3)
)
# A clip with samples of other kinds in it
CLIPS = st.lists(st.dictionaries(st.integers(0, 399), VALUES, max_size=3), max_size=3).map(
    lambda changes: [[each.get(place, 0.1) for place in range(400)] for each in changes]
)
BODIES = (
    (st.dictionaries(KEYS, CLIPS | ANY_JSON, max_size=2) | ANY_JSON).map(lambda content: json.dumps(content).encode())
    | st.binary(max_size=50)
    | st.text(max_size=50).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
TYPES = st.sampled_from(
    [
        JSON,
        JSON,
        JSON,
        f"{JSON}; charset=utf-8",
        f"{JSON}; charset=latin-1",
        f"{JSON}; a=b",
        "text/csv",
        PARQUET,
        "x",
        "",
        None,
    ]
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(body=BODIES, content_type=TYPES)
def test_no_request_is_an_error_of_the_server(served: str, body: bytes, content_type: str | None) -> None:
    answer = post(served, body, content_type)
    assert answer.status_code in (200, 400, 415), (body, content_type, answer.text)
    assert answer.status_code == 200 or answer.text


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
ROUTES = st.sampled_from(
    ["", "ping", "health", "version", "invocations", "invocations/", "docs", "openapi.json", "..%2f"]
)
PATHS = st.tuples(ROUTES | st.text(max_size=5), st.text(max_size=5)).map(
    lambda parts: f"/{quote(parts[0], safe='%/.')}{'?' if parts[1] else ''}{quote(parts[1], safe='=&')}"
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Accept", "Authorization", "Content-Encoding", "Content-Type", "Cookie", "Range", "X-Forwarded-For"]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=10),
    max_size=3,
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(method=METHODS, path=PATHS, headers=HEADERS, body=BODIES)
def test_no_route_and_no_method_is_an_error_of_the_server(
    served: str, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    answer = requests.request(method, f"{served}{path}", headers=headers, data=body, timeout=60)
    assert answer.status_code < 500, (method, path, headers, body, answer.text)
