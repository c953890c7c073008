"""What the runs of a plan hold and compute, counted from shapes, once for all that are alike.

Steps are counted on batches of a few lengths; between them both memory and operations are a little less than
on the straight line, which is what is taken.
"""

from __future__ import annotations

from collections.abc import Callable

from ...config import RunConfig
from ...core import find_mlp_linears
from ...methods.base import chosen_blocks
from ...training.basis import PROBE_STEPS
from ...training.footprint import Costs, Footprint, costs
from .past import Setting
from .planned import Planned

SHORTEST, GRAIN = 8, 32  # tokens: steps are counted at the first and at multiples of the second
EIGH = 14.0  # operations of a decomposition of an n x n matrix over n^3, as long as it takes on a CPU


class Arithmetic:
    """Costs from shapes."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Costs] = {}

    def footprint(self, planned: Planned) -> Footprint:
        """The memory of the run's last step on its longest batch.

        All but the peak is of a batch that is a little longer.
        """

        def peak(found: Costs) -> float:
            return found.footprint(planned.steps).peak

        _, longer, _ = self._around(planned, planned.config, planned.longest)
        between = self._between(planned, planned.config, planned.longest, peak)
        return longer.footprint(planned.steps).model_copy(update={"peak": round(between)})

    def step(self, planned: Planned, config: RunConfig, tokens: float) -> float:
        """Operations of a step by `config` on batches padded to `tokens`, on the model of `planned`."""
        return self._between(planned, config, tokens, lambda found: found.rehearsal.step)

    def evaluation(self, planned: Planned, rows: int) -> float:
        """Operations of scoring so many examples."""
        return rows * self._forward(planned, planned.padded(planned.objective.eval_batch_size))

    def calibration(self, planned: Planned) -> float:
        """Operations that find the basis of the run: passes, sums of squares, decompositions."""
        config = planned.config
        steps = (config.calibration_steps or 0) + PROBE_STEPS
        examples = config.batch_size // (config.accumulation_steps or 1)
        passes = 3 * examples * self._forward(planned, planned.padded(examples))
        blocks = chosen_blocks(planned.model, config.blocks)
        places = find_mlp_linears(planned.model, blocks)
        shapes = [(place.kind, place.linear.weight.shape) for place in places]
        squares = sum(O * I * (O + I) for _, (O, I) in shapes)
        return steps * (passes + squares) + EIGH * sum(O**3 + I**3 for O, I in dict(shapes).values())

    def _forward(self, planned: Planned, tokens: float) -> float:
        """Operations of a forward pass over one example."""
        config = planned.config
        examples = config.batch_size // (config.accumulation_steps or 1)
        of_part = self._between(planned, config, tokens, lambda found: found.rehearsal.forward)
        return of_part / examples

    def _between(
        self, planned: Planned, config: RunConfig, tokens: float, amount: Callable[[Costs], float]
    ) -> float:
        shorter, longer, share = self._around(planned, config, tokens)
        return (1 - share) * amount(shorter) + share * amount(longer)

    def _around(self, planned: Planned, config: RunConfig, tokens: float) -> tuple[Costs, Costs, float]:
        """Costs at the counted lengths around `tokens`, and how far it is from the one to the other."""
        below = int(tokens // GRAIN) * GRAIN
        if below == tokens:
            found = self._costs(planned, config, below)
            return found, found, 0.0
        above, below = below + GRAIN, max(SHORTEST, below)
        share = (tokens - below) / (above - below)
        return self._costs(planned, config, below), self._costs(planned, config, above), share

    def _costs(self, planned: Planned, config: RunConfig, tokens: int) -> Costs:
        batch = (config.batch_size, config.accumulation_steps or 1, tokens)
        key = (type(planned.objective), Setting.of(config), *batch)
        if key not in self._known:
            self._known[key] = costs(planned.model, planned.objective, config, tokens)
        return self._known[key]
