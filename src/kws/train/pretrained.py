"""Networks that begin with weights of another one: an embedding of ours, or a network that stage train wrote.

An embedding is a file of NumPy's format npz. `about` is JSON, as bytes: what the network is, what it has heard, its
licence. `<layer>/<number>` are the weights of each layer but the last one: kernels as float16, what has one axis
(normalisations, biases) as float32, since a variance may be outside the range of 16 bits.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kws.audio.frontend import FrontEnd
from kws.core.address import public_address
from kws.core.arrays import write_arrays
from kws.core.errors import UserError
from kws.core.files import sha256_of, written_whole
from kws.core.params import OUR_EMBEDDING, Params, pretrained_path
from kws.records.spec import FeatureSpec
from kws.train.models import LOGITS, load_model, network_of

EMBEDDINGS = Path(__file__).with_name("embeddings")  # the files that come with kws
SUFFIX = ".npz"
# What must be equal, by its name in `about`; the parameter has another name where one stands here
_NAMES = {"kind": "front_end", "clip_samples": "clip_seconds"}
_NOT_SETTINGS = ("frames", "margin", "lead")  # they follow from the settings of the front end


@dataclass(frozen=True)
class Pretrained:
    """Weights to begin with.

    Attributes:
        name: of the file, without its folder.
        digest: SHA-256 of the file, in hex digits.
        about: what the network is; an embedding also says what it has heard, and its licence.
        weights: of each layer but `logits`, by the layer's name.
    """

    name: str
    digest: str
    about: dict[str, Any]
    weights: dict[str, list[np.ndarray]]

    @property
    def licence(self) -> str:
        """That of what it has heard."""
        return str(self.about.get("licence", "not known"))

    def heard_of(self, people: Iterable[str]) -> set[str] | None:
        """Those of these people whom the network has heard; None: not known, since it does not say whom."""
        if "people" not in self.about:
            return None
        heard = set(self.about["people"])
        return {name for name in people if person_digest(name) in heard}

    def give_to(self, model: keras.Model) -> None:
        """Puts the weights, the normalisation of the input among them, into all layers but `logits`.

        Raises:
            UserError: the layers are not the same.
        """
        layers = {layer.name: layer for layer in model.layers if layer.weights and layer.name != LOGITS}
        for name in sorted({*layers, *self.weights}):
            wanted = [tuple(weight.shape) for weight in layers[name].weights] if name in layers else []
            found = [weight.shape for weight in self.weights.get(name, ())]
            if wanted != found:
                raise UserError(
                    f"pretrained: {self.name} is another network: layer {name} has weights of the shapes {found} there "
                    f"and {wanted} here; set model, width and causal as they were when it was trained"
                )
        for name, weights in self.weights.items():
            layers[name].set_weights(weights)
        model.get_layer("normalization").finalize_state()


def person_digest(name: str) -> str:
    """By what an embedding knows whom it has heard: names of people do not stand in it."""
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def write_embedding(model: keras.Model, spec: FeatureSpec, about: Mapping[str, Any], path: Path) -> None:
    """Writes the embedding of a network; same network, same bytes.

    Args:
        model: log-Mel -> logits; its last layer is left out.
        spec: of the features that it was trained on.
        about: `model`, `width`, `causal`, and whatever else people should know; JSON.
        path: of the file.
    """
    content = json.dumps({"front_end": spec.front_end.to_json(), **about}, ensure_ascii=False, sort_keys=True)
    arrays = [("about", np.frombuffer(content.encode(), np.uint8))]
    arrays += [
        (f"{layer.name}/{number}", weight.astype(np.float16) if weight.ndim > 1 else weight)
        for layer in model.layers
        if layer.name != LOGITS
        for number, weight in enumerate(layer.get_weights())
    ]
    with written_whole(path) as partial, partial.open("wb") as file:
        write_arrays(file, arrays)


def read_embedding(name: str, spec: FeatureSpec, params: Params) -> Pretrained:
    """What parameter `pretrained` names, if it fits the experiment.

    Args:
        name: `kws` for the embedding that comes with kws and fits front end and `causal`, or a file: an embedding, or a
            network that stage train wrote.
        spec: of the experiment's features.
        params: the parameters of the experiment.

    Raises:
        UserError: it is not there, cannot be read, or is of another front end or network.
    """
    path = _ours(spec.front_end, params) if name == OUR_EMBEDDING else pretrained_path(name)
    shown = public_address(name)
    if path is None or not path.is_file():
        raise UserError(
            f"pretrained: {shown} does not exist ({path}): give an embedding or a network, or leave it empty"
        )
    try:
        about, weights = _read_embedding(path) if path.suffix == SUFFIX else _read_network(path)
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as problem:
        raise UserError(
            f"pretrained: {shown} is neither an embedding ({SUFFIX}, of make embedding) nor a network (.keras, of "
            f"stage train): {problem}"
        ) from None
    if differing := _differing(about, spec.front_end, params):
        listed = ", ".join(f"{key} {_shown(there)} (not {_shown(here)})" for key, (there, here) in differing.items())
        wanted = " ".join(f"{key}={_shown(there)}" for key, (there, _) in differing.items())
        raise UserError(f"pretrained: {shown} is a network with {listed}; set {wanted}, or leave pretrained empty")
    return Pretrained(path.name, sha256_of(path), about, weights)


def about_embedding(path: Path) -> dict[str, Any]:
    """What an embedding says of itself."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(json.loads(arrays["about"].tobytes()))


def _ours(front_end: FrontEnd, params: Params) -> Path:
    """The embedding that comes with kws, of this kind of front end and `causal`: the one that differs least.

    Raises:
        UserError: there is none.
    """
    found = {path: about_embedding(path) for path in sorted(EMBEDDINGS.glob(f"{OUR_EMBEDDING}*{SUFFIX}"))}
    kinds = {path: (about["front_end"]["kind"], about["causal"]) for path, about in found.items()}
    fitting = [path for path, kind in kinds.items() if kind == (front_end.kind, params.causal)]
    if not fitting:
        there = {f"front_end={kind} causal={_shown(causal)}" for kind, causal in kinds.values()}
        raise UserError(
            f"pretrained: {OUR_EMBEDDING} has no embedding for front_end={front_end.kind} "
            f"causal={_shown(params.causal)}, only for {' and '.join(sorted(there)) or 'nothing yet'}; "
            "make one (make embedding), or leave pretrained empty"
        )
    return min(fitting, key=lambda path: len(_differing(found[path], front_end, params)))


def _read_embedding(path: Path) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    about = about_embedding(path)
    if missing := {"front_end", "model", "width", "causal"} - about.keys():
        raise ValueError(f"it does not say its {' and '.join(sorted(missing))}")
    weights: dict[str, list[np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            if name != "about":
                layer, _, _ = name.rpartition("/")
                weights.setdefault(layer, []).append(arrays[name])  # Keras makes float32 of float16
    return about, weights


def _read_network(path: Path) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
    model, spec = load_model(path)
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.weights and layer.name != LOGITS}
    return {"front_end": spec.front_end.to_json(), **network_of(path)}, weights


def _differing(about: Mapping[str, Any], front_end: FrontEnd, params: Params) -> dict[str, tuple[Any, Any]]:
    """Which parameters are other ones than those of the pretrained network: there, and here."""
    here = front_end.to_json() | {name: getattr(params, name) for name in ("model", "width", "causal")}
    there = about["front_end"] | {name: about[name] for name in ("model", "width", "causal") if name in about}
    differing = {
        name: (there[name], here[name]) for name in there if there[name] != here[name] and name not in _NOT_SETTINGS
    }
    if "clip_samples" in differing:
        differing["clip_samples"] = (there["clip_samples"] / there["sample_rate"], params.clip_seconds)
    return {_NAMES.get(name, name): pair for name, pair in differing.items()}


def _shown(value: Any) -> str:
    """As YAML and the command line have it."""
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
