"""Small speech-command recognisers: front end, models, evaluation.

The settings below must be in place before TensorFlow is imported anywhere, so they stand here.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no banner about CPU features in every stage
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its default, and so the result, depends on the processor
