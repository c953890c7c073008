"""What the runs of a plan hold and compute, counted from shapes, once for all that are alike.

Steps are counted on batches of a few lengths; between them both memory and operations are a little less than
on the straight line, which is what is taken.
"""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedModel

from ...core import find_mlp_linears
from ...store.schema import RunConfig
from ...training.calibration import PROBE_STEPS
from ...training.footprint import Costs, Footprint, costs
from ...training.loop import EVAL_BATCH_SIZE
from .past import Setting
from .planned import Planned

SHORTEST, GRAIN = 8, 32  # tokens: steps are counted at the first and at multiples of the second
EIGH = 14.0  # operations of a decomposition of an n x n matrix over n^3, as long as it takes on a CPU


class Arithmetic:
    """Costs from shapes."""

    def __init__(self) -> None:
        self._known: dict[tuple[Setting, int, int, int], Costs] = {}

    def footprint(self, planned: Planned) -> Footprint:
        """The memory of the run's last step on its longest batch.

        All but the peak is of a batch that is a little longer.
        """

        def peak(found: Costs) -> float:
            return found.footprint(planned.steps).peak

        _, longer, _ = self._around(planned.model, planned.config, planned.longest)
        between = self._between(planned.model, planned.config, planned.longest, peak)
        return longer.footprint(planned.steps).model_copy(update={"peak": round(between)})

    def step(self, model: PreTrainedModel, config: RunConfig, tokens: float) -> float:
        """Operations of a step on batches padded to `tokens`."""
        return self._between(model, config, tokens, lambda found: found.rehearsal.step)

    def evaluation(self, planned: Planned, rows: int) -> float:
        """Operations of scoring so many examples."""
        return rows * self._forward(planned, planned.padded(EVAL_BATCH_SIZE))

    def calibration(self, planned: Planned) -> float:
        """Operations that find the basis of the run: passes, sums of squares, decompositions."""
        config = planned.config
        steps = (config.calibration_steps or 0) + PROBE_STEPS
        passes = 3 * config.batch_size * self._forward(planned, planned.padded(config.batch_size))
        shapes = [(place.kind, place.linear.weight.shape) for place in find_mlp_linears(planned.model)]
        squares = sum(O * I * (O + I) for _, (O, I) in shapes)
        return steps * (passes + squares) + EIGH * sum(O**3 + I**3 for O, I in dict(shapes).values())

    def _forward(self, planned: Planned, tokens: float) -> float:
        """Operations of a forward pass over one example."""
        config = planned.config
        examples = config.batch_size // (config.accumulation_steps or 1)
        of_part = self._between(planned.model, config, tokens, lambda found: found.rehearsal.forward)
        return of_part / examples

    def _between(
        self, model: PreTrainedModel, config: RunConfig, tokens: float, amount: Callable[[Costs], float]
    ) -> float:
        shorter, longer, share = self._around(model, config, tokens)
        return (1 - share) * amount(shorter) + share * amount(longer)

    def _around(self, model: PreTrainedModel, config: RunConfig, tokens: float) -> tuple[Costs, Costs, float]:
        """Costs at the counted lengths around `tokens`, and how far it is from the one to the other."""
        below = int(tokens // GRAIN) * GRAIN
        if below == tokens:
            found = self._costs(model, config, below)
            return found, found, 0.0
        above, below = below + GRAIN, max(SHORTEST, below)
        share = (tokens - below) / (above - below)
        return self._costs(model, config, below), self._costs(model, config, above), share

    def _costs(self, model: PreTrainedModel, config: RunConfig, tokens: int) -> Costs:
        key = (Setting.of(config), config.batch_size, config.accumulation_steps or 1, tokens)
        if key not in self._known:
            self._known[key] = costs(model, config, tokens)
        return self._known[key]
