"""The tests; their environment is set before anything reads it."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices, and the workers share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # nor does a command look whether they are free
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as the command line sets it, before torch is imported
