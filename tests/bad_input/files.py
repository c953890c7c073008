"""Experiments, task files, rows of data, search spaces: files that a user writes."""

from .case import Case, lines
from .options import FT, SWEEP

GRID = "run --quiet --dry-run --device cpu grid.yaml"
HEAD = "title: t\nmodels: ['{}']\ndata: demo\n"
GOOD = "title: t\nmodels: [demo]\ntasks: [cola]\nmethods: [ft]\ndata: demo\n"
OWN = "finetune --quiet --device cpu --model {bert} --method ft --max-steps 1 --task own.yaml"
TASK = (
    "text: sentence\nlabels: [bad, good]\nmetrics: accuracy\nfiles: {train: train.tsv, validation: dev.tsv}\n"
)
ROWS = "sentence\tlabel\na dog\tgood\na man\tbad\n"
JSONL = TASK.replace(".tsv", ".jsonl")
ROW = {"sentence": "a dog", "label": "good"}


def grid(wrong: str, text: str, says: str, more: str = "") -> Case:
    return Case(wrong, f"{GRID}{more}", says, files={"grid.yaml": text})


def task(wrong: str, text: str, says: str) -> Case:
    return Case(wrong, OWN, says, files={"own.yaml": text, "train.tsv": ROWS, "dev.tsv": ROWS})


def tsv(wrong: str, rows: str | bytes, says: str) -> Case:
    return Case(wrong, OWN, says, files={"own.yaml": TASK, "train.tsv": rows, "dev.tsv": ROWS})


def jsonl(wrong: str, rows: str | bytes, says: str) -> Case:
    return Case(
        wrong, OWN, says, files={"own.yaml": JSONL, "train.jsonl": rows, "dev.jsonl": lines(ROW, ROW)}
    )


def space(wrong: str, text: str, says: str) -> Case:
    return Case(wrong, f"{SWEEP} --space space.yaml", says, files={"space.yaml": text})


CASES = [
    Case("no such experiment", "run demoo", "no experiment 'demoo'"),
    Case("an experiment that is not there", "run ./none.yaml", "none.yaml"),
    grid("an empty experiment", "", "grid.yaml: empty"),
    grid("broken YAML", "title: [", "not YAML"),
    grid("bytes", "\0", "not YAML"),
    grid("a list", "- a\n", "an experiment is a mapping"),
    grid("a key twice", GOOD + "title: u\n", "grid.yaml:6: title is there twice"),
    grid("a key that is a number", GOOD + "1: u\n", "a key must be a word"),
    grid("a misspelt key", GOOD + "sedes: [1]\n", "grid.yaml:6"),
    grid("no title", GOOD.replace("title: t\n", ""), "title"),
    grid("no models", GOOD.replace("[demo]", "[]"), "models"),
    grid("no methods", GOOD.replace("methods: [ft]\n", ""), "methods"),
    grid("a misspelt method", GOOD.replace("[ft]", "[fft]"), "no method 'fft'"),
    grid("a misspelt task", GOOD.replace("[cola]", "[colla]"), "no task 'colla'"),
    grid("a misspelt kind", GOOD + "kind: finetun\n", "grid.yaml:6"),
    grid("a negative seed", GOOD + "seeds: [-1]\n", "grid.yaml"),
    grid("a seed that is a word", GOOD + "seeds: [one]\n", "grid.yaml:6"),
    grid("a misspelt setting", GOOD + "settings: {epoch: 1}\n", "grid.yaml:6"),
    grid("a setting out of bounds", GOOD + "settings: {epochs: -1}\n", "epochs"),
    grid("a setting that is a list", GOOD + "settings: {epochs: [1, 2]}\n", "epochs"),
    grid("settings that exclude", GOOD + "settings: {epochs: 1, max_steps: 2}\n", "exclude one another"),
    grid("nothing varied", GOOD + "vary: {epochs: []}\n", "grid.yaml:6"),
    grid("an override that sets nothing", GOOD + "overrides: [{when: {task: cola}}]\n", "grid.yaml:6"),
    grid(
        "an override of no cell", GOOD + "overrides: [{when: {task: rte}, set: {epochs: 1}}]\n", "grid.yaml:6"
    ),
    grid("a setting of another method", GOOD + "settings: {rank: 3}\n", "rank"),
    grid("a reference in a circle", "title: &a [*a]\n", "refers to itself"),
    grid("another model asked for", GOOD, "--model", " --model bert"),
    grid("another method asked for", GOOD, "--method", " --method lora"),
    grid("another task asked for", GOOD, "--task", " --task rte"),
    grid("an address of no engine", GOOD, "--address is of a Ray cluster", " --address auto"),
    grid("workers of a benchmark", GOOD + "kind: bench\n", "grid.yaml", " --workers 2"),
    grid("no such retry", GOOD, "--retry", " --retry all"),
    grid("seeds of parameters", "title: t\nkind: parameters\nmodels: [demo]\n", "--seed", " --seed 1"),
    grid(
        "models of parameters",
        "title: t\nkind: parameters\nmodels: [demo]\n",
        "--save: ",
        " --save model",
    ),
    task("an empty task", "", "own.yaml: empty"),
    task("a task that is a list", "- a\n", "a task is a list of 'key: value' lines"),
    task("broken YAML", "text: {", "not YAML"),
    task("no text", TASK.replace("text: sentence\n", ""), "text is missing"),
    task("no metrics", TASK.replace("metrics: accuracy\n", ""), "metrics is missing"),
    task("no files", TASK.partition("files")[0], "files is missing"),
    task("a misspelt key", TASK + "lables: [a, b]\n", "own.yaml:5"),
    task("a misspelt metric", TASK.replace("accuracy", "acuracy"), "acuracy"),
    task("a metric of numbers", TASK.replace("accuracy", "pearson"), "pearson needs no labels"),
    task("one class", TASK.replace("[bad, good]", "[bad]"), "own.yaml:2"),
    task("a class twice", TASK.replace("[bad, good]", "[bad, bad]"), "named twice"),
    task("classes yes and no", TASK.replace("[bad, good]", "[yes, no]"), "write them in quotes"),
    task("three texts", TASK.replace("sentence", "[a, b, c]"), "one or two different text columns"),
    task("a text called label", TASK.replace("sentence", "label"), "cannot be called 'label'"),
    task("a name of ours", TASK + "name: cola\n", "cola is a built-in task"),
    task("a name with a slash", TASK + "name: a/b\n", "is not a plain name"),
    task(
        "a scale upside down",
        TASK.replace("labels: [bad, good]", "range: [5, 1]"),
        "the lowest label comes first",
    ),
    task("a split too few", TASK.replace(", validation: dev.tsv", ""), "the splits are train, validation"),
    task("a file that is not there", TASK.replace("dev.tsv", "none.tsv"), "none.tsv: cannot be read"),
    task("a file of no format", TASK.replace("dev.tsv", "own.yaml"), "not a data file by its ending"),
    task("a column twice", TASK + "columns: [sentence, sentence]\n", "named twice"),
    task("columns without the label", TASK + "columns: [sentence, other]\n", "'label' is not among them"),
    tsv("an empty file", "", "train.tsv: empty"),
    tsv("a header alone", "sentence\tlabel\n", "train.tsv: empty"),
    tsv("no column of text", ROWS.replace("sentence", "text"), "train.tsv:1"),
    tsv("a column too many", ROWS + "a\tb\tc\n", "train.tsv:4"),
    tsv("an unknown class", ROWS + "a\tnice\n", "train.tsv:4"),
    tsv("no label", ROWS + "a\t\n", "train.tsv:4"),
    tsv("no text", ROWS + "\tgood\n", "train.tsv:4"),
    tsv("Latin-1", ROWS.encode() + b"caf\xe9\tgood\n", "train.tsv:4: not UTF-8"),
    jsonl("half a line", lines(ROW) + '{"sentence": "a', "train.jsonl:2: broken JSON"),
    jsonl("a list", "[1]\n", "train.jsonl:1: not a JSON object"),
    jsonl("another column", lines({"text": "a", "label": "good"}), "train.jsonl:1"),
    jsonl("a number for a text", lines({"sentence": 3, "label": "good"}), "sentence is"),
    jsonl("half a surrogate pair", '{"sentence": "\\ud800", "label": "good"}\n', "half a surrogate pair"),
    jsonl("nested too deep", '{"sentence": ' + "[" * 99999, "train.jsonl:1"),
    jsonl("nothing", "", "train.jsonl: empty"),
    Case("a directory that is not there", f"{FT} --data nowhere", "no directory 'nowhere'"),
    Case("a directory without the task", f"{FT} --task rte", "no train split of rte"),
    Case(
        "a packed file that is not",
        f"{FT} --data .",
        "cannot be read",
        files={f"cola/{s}.jsonl.gz": "no gzip" for s in ("train", "validation")},
    ),
    Case("data for a task with files", f"{OWN} --data demo", "names its own files", files={"own.yaml": TASK}),
    Case(
        "one row cannot be halved",
        f"{FT} --protocol heldout --data .",
        "--protocol heldout",
        files={
            f"cola/{s}.jsonl": lines({"sentence": "a", "label": 1, "idx": 0}) for s in ("train", "validation")
        },
    ),
    Case(
        "one row cannot be held out",
        f"{SWEEP} --select-on holdout --data .",
        "none can be held out",
        files={
            f"cola/{s}.jsonl": lines({"sentence": "a", "label": 1, "idx": 0}) for s in ("train", "validation")
        },
    ),
    space("a space that is empty", "", "space.yaml"),
    space("a space that is a list", "- 1\n", "space.yaml"),
    space("broken YAML", "a: [", "space.yaml"),
    space("a misspelt setting", "rank: [3]\nbatchsize: [8]\n", "space.yaml:2: no hyperparameter"),
    space("a setting that is none of a search", "device: [cpu]\n", "no hyperparameter"),
    space("a range upside down", "learning_rate: {low: 0.1, high: 0.01}\n", "space.yaml:1: learning_rate"),
    space("a logarithm of 0", "learning_rate: {low: 0, high: 0.01, log: true}\n", "learning_rate"),
    space("no value", "batch_size: []\n", "batch_size"),
    space("a value out of bounds", "batch_size: [0]\n", "batch_size"),
    space("a value of another type", "batch_size: [many]\n", "batch_size"),
    space("a setting of another method", "rank: [3]\n", "rank"),
    Case("a space that is not there", f"{SWEEP} --space none.yaml", "none.yaml"),
]
