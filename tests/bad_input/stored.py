"""Checkpoints, GGUF files, bases, storages of sweeps, results folders, chat trees, questions."""

from .case import Case, changed_config, index, lines, with_file, without
from .options import BENCH, CALIBRATE, FT, SPARSE, SWEEP

MODEL = "finetune --quiet --device cpu --data {glue} --task cola --method ft --max-steps 1 --model"
CHAT = (
    "finetune --quiet --device cpu --model {llama} --task oasst1 --method ft --length 64 --max-steps 1 --data"
)
JUDGE = "judge --quiet --device cpu --model {llama} --questions q.jsonl"
ASKED = f"{JUDGE} --judge-model gpt-4 --endpoint"
QUESTIONS = {"q.jsonl": lines({"question_id": 1, "category": "math", "turns": ["What is 1 + 1?"]})}
WEIGHTS = "model.safetensors"
ROOT = {"message_id": "r", "text": "hello", "role": "prompter", "lang": "en", "replies": []}
TREE = {"message_tree_id": "r", "tree_state": "ready_for_export", "prompt": ROOT}


def model(wrong: str, content: object, says: str) -> Case:
    return Case(wrong, f"{MODEL} ./broken", says, files={"broken": content})


def trees(wrong: str, text: str | bytes, says: str, more: str = "") -> Case:
    return Case(wrong, f"{CHAT} trees.jsonl{more}", says, files={"trees.jsonl": text})


def judged(wrong: str, more: str, says: str, **files: str) -> Case:
    named = {name.replace("_", "."): text for name, text in files.items()}
    return Case(wrong, f"{JUDGE}{more}", says, files={**QUESTIONS, **named})


CASES = [
    Case("no such checkpoint", f"{MODEL} ./nowhere", "./nowhere"),
    Case("an empty folder", f"{MODEL} .", "--model ."),
    Case("a file for a checkpoint", f"{MODEL} ./a.bin", "it is a file", files={"a.bin": "x"}),
    model("no config", without("config.json"), "config.json"),
    model("a config that is no JSON", with_file("config.json", "{"), "config.json"),
    model("a config that is a list", with_file("config.json", "[]"), "config.json"),
    model("an empty config", with_file("config.json", "{}"), "config.json"),
    model(
        "a model of no known family", changed_config(model_type="gpt2", architectures=["GPT2Model"]), "GPT2"
    ),
    model("a model nobody knows", changed_config(model_type="perceptron"), "perceptron"),
    model("sizes of other weights", changed_config(hidden_size=64), "--model ./broken"),
    model("sizes that cannot be", changed_config(hidden_size=33), "--model ./broken"),
    model("a size in words", changed_config(hidden_size="large"), "--model ./broken"),
    model("no weights", without(WEIGHTS), "nothing is loaded by pickle"),
    model("weights that are none", with_file(WEIGHTS, "no weights"), "broken"),
    model("empty weights", with_file(WEIGHTS, b""), "broken"),
    model("no tokenizer", without("tokenizer.json", "tokenizer_config.json", "vocab.txt"), "tokenizer"),
    model("a tokenizer that is none", with_file("tokenizer.json", "{"), "tokenizer"),
    model("an index that is no JSON", index("{"), "index"),
    model("an index of numbers", index('{"weight_map": {"a": 1}}'), "index"),
    model(
        "an index of parts that are not there",
        index('{"weight_map": {"a": "part.safetensors"}}'),
        "index",
    ),
    Case("a GGUF file that is not there", f"{CHAT} demo --model none.gguf", "no such file"),
    Case(
        "text for a GGUF file", f"{CHAT} demo --model a.gguf", "not a GGUF file", files={"a.gguf": "not one"}
    ),
    Case("an empty GGUF file", f"{CHAT} demo --model a.gguf", "a.gguf", files={"a.gguf": b""}),
    Case("a GGUF head alone", f"{CHAT} demo --model a.gguf", "a.gguf", files={"a.gguf": b"GGUF\3\0\0\0"}),
    Case("a chat with BERT", f"{CHAT} demo --model {{bert}}", "bert"),
    Case("a bench of no checkpoint", f"{BENCH} --model ./nowhere", "./nowhere"),
    Case("a bench of more blocks", f"{BENCH} --layers 99", "99"),
    Case("a calibration of no checkpoint", f"{CALIBRATE} --model ./nowhere", "./nowhere"),
    Case("no such basis", f"{SPARSE} --basis none.safetensors", "none.safetensors"),
    Case("a misspelt basis", f"{SPARSE} --basis calibrate", "calibrate"),
    Case(
        "text for a basis", f"{SPARSE} --basis b.safetensors", "not a basis", files={"b.safetensors": "text"}
    ),
    Case("an empty basis", f"{SPARSE} --basis b.safetensors", "not a basis", files={"b.safetensors": b""}),
    Case("a folder for a basis", f"{SPARSE} --basis folder", "folder", files={"folder/x": ""}),
    Case(
        "a checkpoint for a basis",
        f"{SPARSE} --basis b/model.safetensors",
        "not a basis",
        files={"b": without("config.json")},
    ),
    Case(
        "a basis of squares' rank",
        f"{SPARSE} --basis b.safetensors --basis-rank 3",
        "exclude one another",
        files={"b.safetensors": ""},
    ),
    Case("text for a journal", f"{SWEEP} --storage s.log", "not a journal", files={"s.log": "my notes\n"}),
    Case(
        "text for a journal to show",
        "sweep show --storage s.log",
        "not a journal",
        files={"s.log": "notes\n"},
    ),
    Case("a folder for a journal", "sweep show --storage d", "--storage d", files={"d/x": ""}),
    Case("no study to show", "sweep show", "no study"),
    Case("no study in a file", "sweep show --storage none.log", "no study"),
    Case("no study to go on with", "sweep --resume", "no study"),
    Case("a database of no kind", "sweep show --storage nosql://a/b", "--storage nosql://a/b"),
    Case("a database in no folder", "sweep show --storage sqlite:///no/s.db", "--storage sqlite:///no/s.db"),
    Case(
        "a database that is text",
        "sweep show --storage sqlite:///s.db",
        "--storage",
        files={"s.db": "x" * 4096},
    ),
    Case("SQLite for two", f"{SWEEP} --storage sqlite:///s.db --workers 2", "SQLite locks its file"),
    Case("a report of nothing", "report", "results"),
    Case("a report of no folder", "report nowhere", "nowhere"),
    Case("a report of an empty folder", "report .", "no run in it"),
    Case("a report of a file", "report taken", "taken", files={"taken": "x"}),
    Case("a report in no format", "report . --format pdf", "--format"),
    Case("a method of a report", "report . --method ft", "only with --glue-zip"),
    Case("a fill of a report", "report . --fill-missing majority", "only with --glue-zip"),
    Case("a zip and a table", "report . --glue-zip z.zip --format md", "of no use with --glue-zip"),
    Case("a zip of nothing", "report . --glue-zip z.zip", "no finished run in ."),
    Case("runs of no folder", "ls runs --output nowhere", "nowhere"),
    Case("no trees", f"{CHAT} nowhere", "no file or directory 'nowhere'"),
    Case("trees in no format", f"{CHAT} trees.txt", "is read from files", files={"trees.txt": "x"}),
    Case("a folder without trees", f"{CHAT} .", "no train split"),
    Case(
        "two files of a split",
        f"{CHAT} .",
        "keep one",
        files={f"train.{e}": lines(TREE) for e in ("jsonl", "jsonl.gz")},
    ),
    trees("an empty file", "", "empty"),
    trees("half a line", '{"message_tree_id": ', "trees.jsonl:1: broken JSON"),
    trees("no messages", lines({"a": 1}), "trees.jsonl:1"),
    trees("trees without a message", lines({**TREE, "prompt": None}), "trees.jsonl:1"),
    trees(
        "trees with a number for a message", lines({**TREE, "prompt": {**ROOT, "text": 3}}), "trees.jsonl:1"
    ),
    trees("replies that are none", lines({**TREE, "prompt": {**ROOT, "replies": "none"}}), "trees.jsonl:1"),
    trees("nothing answered", lines(TREE), "--data trees.jsonl"),
    trees("a language that nobody speaks", lines(TREE), "--language", " --language xx"),
    Case("padding of a chat", f"{CHAT} {{chats}} --padding max", "packed full"),
    Case("a chat format of none", f"{CHAT} {{chats}} --chat-format own", "--chat-format own"),
    Case("a chat format nobody knows", f"{CHAT} {{chats}} --chat-format mine", "mine"),
    judged("no judge", "", "--endpoint and --judge-model"),
    judged("a judge without a name", " --endpoint http://localhost:1/v1", "--judge-model"),
    judged("a judge of no use", " --answers-only --judge-model gpt-4", "of no use with --answers-only"),
    judged("workers of no use", " --answers-only --workers 2", "of no use with --answers-only"),
    judged("an endpoint that is none", " --judge-model g --endpoint localhost", "--endpoint localhost"),
    judged("an endpoint with a password", " --judge-model g --endpoint http://u:p@h/v1", "without password"),
    judged(
        "no such key", " --judge-model g --endpoint http://localhost:1/v1 --key-variable NO_KEY", "NO_KEY"
    ),
    judged("a timeout of 0", " --judge-model g --endpoint http://localhost:1/v1 --timeout 0", "--timeout"),
    judged("no such category", " --answers-only --category maths", "did you mean math"),
    judged("questions that are not there", " --answers-only --questions none.jsonl", "no such file"),
    judged("no questions", " --answers-only --questions e.jsonl", "it is empty", e_jsonl=""),
    judged(
        "questions that are no JSON", " --answers-only --questions e.jsonl", "e.jsonl:1", e_jsonl="hello\n"
    ),
    judged(
        "a question twice",
        " --answers-only --questions e.jsonl",
        "e.jsonl:2",
        e_jsonl=2 * QUESTIONS["q.jsonl"],
    ),
    judged("a run and a model", " --answers-only --run runs/a", "give either --run"),
    Case(
        "no run to judge",
        "judge --answers-only --questions q.jsonl --run runs/a",
        "no run there",
        files=QUESTIONS,
    ),
    Case("an answer of BERT", f"{JUDGE} --answers-only --model {{bert}}", "bert", files=QUESTIONS),
    Case(
        "nobody at the endpoint",
        f"{ASKED} http://127.0.0.1:9/v1 --retries 0",
        "cannot be reached",
        1,
        QUESTIONS,
    ),
    Case("a basis of another model", f"{FT} --basis b", "--basis is not used by --method ft"),
]
