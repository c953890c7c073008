"""GLUE's test splits, whose labels only its leaderboard has, and the files it takes predictions in.

Sizes and file names are those of gluebenchmark.com; a file's rows are `index`, from 0, and `prediction`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HiddenSplit:
    """A test split, and the file of a submission that answers it."""

    name: str  # among the splits of its task
    place: str  # on the hub and in folders of JSON lines: task/split
    tsv: str  # in the classic `glue_data` folder; has a header line
    rows: int
    file: str
    optional: bool = False  # copies of GLUE often lack it
    majority: int | None = None  # the commonest class of dev, where leaving the task out is usual


LEADERBOARD: dict[str, tuple[HiddenSplit, ...]] = {
    "cola": (HiddenSplit("test", "cola/test", "CoLA/test.tsv", 1063, "CoLA.tsv"),),
    "sst2": (HiddenSplit("test", "sst2/test", "SST-2/test.tsv", 1821, "SST-2.tsv"),),
    "mrpc": (HiddenSplit("test", "mrpc/test", "MRPC/test.tsv", 1725, "MRPC.tsv"),),
    "stsb": (HiddenSplit("test", "stsb/test", "STS-B/test.tsv", 1379, "STS-B.tsv"),),
    "qqp": (HiddenSplit("test", "qqp/test", "QQP/test.tsv", 390965, "QQP.tsv"),),
    "mnli": (
        HiddenSplit("test_matched", "mnli/test_matched", "MNLI/test_matched.tsv", 9796, "MNLI-m.tsv"),
        HiddenSplit(
            "test_mismatched", "mnli/test_mismatched", "MNLI/test_mismatched.tsv", 9847, "MNLI-mm.tsv"
        ),
        HiddenSplit("ax", "ax/test", "diagnostic/diagnostic.tsv", 1104, "AX.tsv", optional=True),
    ),
    "qnli": (HiddenSplit("test", "qnli/test", "QNLI/test.tsv", 5463, "QNLI.tsv"),),
    "rte": (HiddenSplit("test", "rte/test", "RTE/test.tsv", 3000, "RTE.tsv"),),
    "wnli": (HiddenSplit("test", "wnli/test", "WNLI/test.tsv", 146, "WNLI.tsv", majority=0),),
}
IN_WORDS = ("mnli", "qnli", "rte")  # tasks whose predictions are names of classes; of others, ids
