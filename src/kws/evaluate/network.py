"""The networks that train wrote, asked by LiteRT: in several threads, one clip at a time."""

from collections.abc import Iterable
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import scipy.special
from ai_edge_litert.interpreter import Interpreter

from kws.core.files import require_exists
from kws.core.parallel import map_in_order
from kws.core.stderr import without_banners

CLIPS_A_TASK = 64
PROBABILITIES = "probabilities"  # outputs of the LiteRT files: of the one in float32, ...
LOGITS = "logits"  # ... and of the one in 8 bits, whose softmax stays in float32


class EvaluatedNetwork:
    """A network that takes log-Mel features. Its answers depend neither on the number of threads nor on each other.

    Args:
        path: of the LiteRT file; it gives `embedding` and `probabilities`, or `logits`.
        threads: that share the work, each with an interpreter of its own.

    Raises:
        UserError: the file is not there.
    """

    def __init__(self, path: Path, threads: int) -> None:
        content = require_exists(path).read_bytes()
        self._threads = threads
        self._idle: SimpleQueue[Interpreter] = SimpleQueue()
        with without_banners():
            for _ in range(threads):
                interpreter = Interpreter(model_content=content, num_threads=1)
                interpreter.allocate_tensors()
                self._idle.put(interpreter)
        [self._input] = interpreter.get_input_details()
        self._outputs = interpreter.get_signature_runner().get_output_details()

    def answers(self, clips: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """What the network makes of clips; a network in 8 bits gives no embedding, and cannot be asked for it.

        Args:
            clips: log-Mel, float32 (frames, mel_bins) each; they are read as they are needed.

        Returns:
            The embeddings, float32 (clips, units), and the probabilities, float32 (clips, classes).
        """
        tasks = list(map_in_order(self._outputs_of, clips, CLIPS_A_TASK, self._threads))
        embeddings, probabilities = (
            np.concatenate([task[name] for task in tasks]) for name in ("embedding", PROBABILITIES)
        )
        return embeddings, probabilities

    def probabilities(self, clips: Iterable[np.ndarray]) -> np.ndarray:
        """The probabilities alone, as `answers` gives them; nothing else is kept."""
        return np.concatenate(list(map_in_order(self.ask, clips, CLIPS_A_TASK, self._threads)))

    def ask(self, clips: Iterable[np.ndarray]) -> np.ndarray:
        """The same for a few clips, in the caller's thread; several threads may call it at a time."""
        return self._outputs_of(clips)[PROBABILITIES]

    def _outputs_of(self, clips: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        interpreter = self._idle.get()
        outputs: dict[str, list[np.ndarray]] = {name: [] for name in self._outputs}
        try:
            for log_mel in clips:
                interpreter.set_tensor(self._input["index"], log_mel.reshape(self._input["shape"]))
                interpreter.invoke()
                for name, output in self._outputs.items():
                    outputs[name].append(interpreter.get_tensor(output["index"])[0])
        finally:
            self._idle.put(interpreter)  # or other tasks would wait for it for ever
        stacked = {name: np.stack(values) for name, values in outputs.items()}
        if LOGITS in stacked:
            stacked[PROBABILITIES] = scipy.special.softmax(stacked.pop(LOGITS), axis=1)
        return stacked
