"""Small speech-command recognisers: front end, models, evaluation."""

import kws.core  # noqa: F401 (it holds the settings that must be in place before TensorFlow)
