"""A main metric as a person reads it while runs go on."""

LOSS = "loss"  # the metric of chat tasks


def greater_is_better(metric: str) -> bool:
    """Whether of two values of a main metric the higher is the better one; of a loss it is the lower."""
    return metric != LOSS


def score_words(metric: str | None, value: float) -> str:
    """A loss as it is, in nats; GLUE's metrics times 100."""
    return f"{value:.3f}" if metric == LOSS else f"{100 * value:.1f}"
