"""In a worker: the model, as the job says."""

from __future__ import annotations

from transformers import set_seed

from ..models.checkpoint import Checkpoint
from ..models.load import load_classifier
from ..models.pretrained import LoadedModel
from ..models.random import architecture, cut_blocks, random_classifier
from .jobs import Setup
from .machine import set_precision


def build_model(setup: Setup) -> LoadedModel:
    """The classifier on its device, in training mode, the same for the same seed."""
    subject = setup.subject
    set_precision(subject.precision)
    set_seed(subject.seed)
    identity = subject.checkpoint
    checkpoint = Checkpoint(subject.model, setup.location, identity.rpartition("@")[2], identity)
    if subject.init == "random":
        config = architecture(checkpoint)
        loaded = random_classifier(config, subject.layers, setup.num_labels, setup.regression)
    else:
        loaded = load_classifier(checkpoint, setup.num_labels, setup.regression)
        if subject.layers is not None:
            cut_blocks(loaded.model, subject.layers)
    loaded.model.to(subject.device).train()
    return loaded
