"""`calibrate` and `finetune` on conversations, as they are typed."""

from __future__ import annotations

import json

import pytest

from tests.checkpoints import tiny_checkpoint

TREE = {
    "message_tree_id": "t",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "q",
        "text": "What is the best way to learn?",
        "role": "prompter",
        "lang": "en",
        "replies": [{"message_id": "a", "text": "A book, every day.", "role": "assistant", "lang": "en"}],
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_checkpoint(tmp_path_factory.mktemp("llama"), "llama"))


@pytest.fixture
def trees(tmp_path):
    """Twelve trees: one without an answer's text, one with a strange role, two in German."""
    made = []
    for number in range(12):
        tree = json.loads(json.dumps(TREE).replace('"t"', f'"tree-{number}"'))
        for message in (tree["prompt"], tree["prompt"]["replies"][0]):
            message["message_id"] += str(number)
        made.append(tree)
    made[2]["prompt"]["replies"][0]["text"] = ""
    made[4]["prompt"]["replies"][0]["role"] = "bot"
    made[6]["prompt"]["lang"] = made[7]["prompt"]["lang"] = "de"
    path = tmp_path / "trees.jsonl"
    path.write_text("".join(json.dumps(tree) + "\n" for tree in made))
    return str(path)


SHORT = ("--length", "32", "--batch-size", "2", "--max-steps", "2", "--max-train-examples", "4")


def test_what_calibrate_finds_finetune_finds_again(call, model, conversations, tmp_path):
    common = ("--model", model, "--task", "oasst1", "--data", str(conversations), "--output", str(tmp_path))
    size = ("--length", "32", "--batch-size", "2", "--max-train-examples", "4", "--calibration-steps", "2")
    code, out, err = call("calibrate", *common, *size, "--basis-rank", "16", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["bases"]
    for kind in found["kinds"].values():
        assert kind["rank"] == [16, 16]
        assert 0 < kind["energy_kept"]["both"] <= 1.001
    code, out, err = call(
        "finetune", *common, *size, "--basis-rank", "16", "--method", "sparsegrad", "--max-steps", "2"
    )
    assert code == 0, err
    assert "calibrate" not in err
    assert len(list((tmp_path / "bases").glob("*.safetensors"))) == 1


def test_a_run_tells_its_loss_and_what_was_left_out(call, model, trees, tmp_path):
    common = ("--model", model, "--task", "oasst1", "--data", trees, "--output", str(tmp_path / "results"))
    code, out, err = call("finetune", *common, *SHORT, "--method", "lora", "--json")
    assert code == 0, err
    told = [line for line in err.splitlines() if line.startswith("left out")]
    assert [line.partition(" (")[0] for line in told[:2]] == [
        "left out: tree tree-2: empty text",
        "left out: tree tree-4: unknown role",
    ]
    assert told[2:] == ["left out: 2 trees: other language"]
    (run,) = json.loads(out)["runs"]
    assert run["score_name"] == "loss"
    assert run["data"]["left_out"] == {"empty text": 1, "unknown role": 1, "other language": 2}
    assert f"loss {run['score']:.3f} (2 steps" in err
    assert call("finetune", *common, *SHORT, "--method", "lora", "--quiet")[2] == ""


@pytest.mark.usefixtures("any_memory")
def test_a_dry_run_says_what_each_method_will_hold(call, model, conversations, tmp_path):
    methods = [word for name in ("ft", "lora", "meprop", "sparsegrad") for word in ("--method", name)]
    code, out, err = call(
        *("finetune", "--model", model, "--task", "oasst1", "--data", str(conversations), *SHORT, *methods),
        *("--dry-run", "--output", str(tmp_path / "results")),
    )
    assert code == 0, err
    heading = next(line for line in out.splitlines() if line.startswith("memory"))
    assert {"weights", "gradients", "moments", "activations", "peak"} <= set(heading.split())
    for name in ("ft", "lora", "meprop", "sparsegrad"):
        assert any(line.startswith(name) for line in out.splitlines())
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--language", "xx"), "--language: no conversation in 'xx'"),
        (("--data", "nowhere"), "--data"),
        (("--task", "cola", "--data", "demo", "--loss-on", "all"), "--loss-on is for chat tasks"),
        (("--predict-test",), "--predict-test"),
        (("--model", "demo"), "is an encoder"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, call, model, trees, tmp_path):
    given = {"--model": model, "--task": "oasst1", "--data": trees, "--output": str(tmp_path / "results")}
    asked = [word for pair in given.items() if pair[0] not in arguments for word in pair]
    code, out, err = call("finetune", *asked, *SHORT, "--method", "lora", *arguments)
    last = err.splitlines()[-1]
    assert (code, out) == (2, "")
    assert message in last
    assert not (tmp_path / "results").exists()
