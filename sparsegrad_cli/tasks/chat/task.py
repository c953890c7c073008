"""What a chat task is: the record behind an entry of `chat.yaml`."""

from __future__ import annotations

from ...store.schema import Record


class ChatTask(Record):
    """Conversations between a user and an assistant, to be continued by a causal language model."""

    name: str
    hub: str  # the id of the data set on the hub
    train: str = "train"
    dev: tuple[str, ...] = ("validation",)  # the first selects and gives the score
    suffixes: tuple[str, ...] = ("",)  # of the metrics' names, one for each dev split
    metrics: tuple[str, ...] = ("loss",)
    in_average: bool = False  # whether the mean over tasks counts it
    version: int = 1

    @property
    def score_name(self) -> str:
        """The main metric: nats a token of the turns that count; lower is better."""
        return f"{self.metrics[0]}{self.suffixes[0]}"
