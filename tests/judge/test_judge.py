"""A whole judgement: what it comes to, what it keeps, and how it goes on after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sparsegrad_cli.errors import InputError, WorkError
from sparsegrad_cli.judge import answer as answering
from sparsegrad_cli.judge.client import Client, Key
from sparsegrad_cli.judge.judge import Plan, mean, means_by, plan, rating_in, run_judge, turn_states
from sparsegrad_cli.judge.records import ANSWERS, JUDGEMENTS, JudgeResult, Rating, read_judgements
from sparsegrad_cli.progress import NoProgress
from sparsegrad_cli.settings import config_id
from sparsegrad_cli.store.folder import RUNS, find_results

from ..checkpoints import tiny_checkpoint
from ..planned import PowerCutError
from .questions_file import write_questions
from .server import JudgeServer, Said, judge_server, refuses, says

KEY = Key("OPENAI_API_KEY", "sk-Secret-0123")
TURNS = 7


class Watch(NoProgress):
    """Counts the steps of each phase; cuts the power at one of them."""

    def __init__(self, cut_at: tuple[str, int] | None = None) -> None:
        self.cut_at, self.steps = cut_at, {}

    def phase(self, name: str, total: int, done: int = 0) -> None:
        self.name, self.total, self.before = name, total, done
        self.steps[name] = 0

    def step(self, done: int, loss: float | None = None) -> None:
        self.steps[self.name] = done - self.before
        assert done <= self.total
        if self.cut_at == (self.name, self.steps[self.name]):
            raise PowerCutError


@pytest.fixture(scope="module")
def choices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("judged")
    model = tiny_checkpoint(folder / "llama", "llama")
    return {
        "questions": write_questions(folder),
        "model": str(model),
        "judge_model": "judge",
        "max_new_tokens": 4,
        "device": "cpu",
    }


def judged(
    planned: Plan, results: Path, server: JudgeServer, watch: Watch | None = None, workers: int = 1
) -> JudgeResult:
    client = Client(server.url, KEY, retries=2, sleep=lambda seconds: None)
    return run_judge(planned, results, client, workers, 2, watch or Watch())


def by_question(request: dict[str, object]) -> Said:
    """A rating of its own for each turn of each question."""
    text = request["messages"][1]["content"]
    two = 1 if "question 2>" in text else 0
    for words, ratings in (("story", (9, 6)), ("1 + 1", (10, 8)), ("3 x 3", (1, 2)), ("blue", (4,))):
        if words in text:
            return says(f"Rating: [[{ratings[two]}]]")
    raise AssertionError(text)


def test_means_by_turn_and_category_and_what_is_kept(choices, tmp_path):
    planned = plan(**choices)
    with judge_server(otherwise=by_question) as server:
        result = judged(planned, tmp_path, server, workers=3)
        assert len(server.asked) == TURNS
        assert judged(planned, tmp_path, server) == result
        assert len(server.asked) == TURNS  # a finished judgement is not asked again
    assert (result.status, result.rated, result.unrated) == ("done", 7, 0)
    assert result.score == pytest.approx((9 + 6 + 10 + 8 + 1 + 2 + 4) / 7)
    assert result.turns == {"1": 6.0, "2": pytest.approx(16 / 3)}
    assert result.categories == {"writing": 7.5, "math": 5.25, "stem": 4.0}
    assert result.no_reference == 2  # question 3
    assert [one.reference for one in result.ratings] == [False, False, True, True, False, False, False]
    folder = JUDGEMENTS.folder(tmp_path, planned.judge).path
    names = {"config.json", "environment.json", "answers.jsonl", "exchanges.jsonl", "result.json"}
    assert names <= {path.name for path in folder.iterdir()}
    (read,) = read_judgements([tmp_path])
    assert (read.result, read.config) == (result, planned.judge)
    assert JUDGEMENTS.owns(folder)
    assert not JUDGEMENTS.owns(ANSWERS.folder(tmp_path, planned.model.config).path)


def test_a_request_is_the_protocols_and_holds_references_where_there_are_some(choices, tmp_path):
    with judge_server() as server:
        judged(plan(**choices), tmp_path, server)
    assert {(r["model"], r["temperature"], r["max_tokens"]) for r in server.asked} == {("judge", 0, 2048)}
    with_reference = [r for r in server.asked if "<correct answer" in r["messages"][1]["content"]]
    assert len(with_reference) == 2
    assert server.authorizations == [f"Bearer {KEY.value}"] * TURNS


@pytest.mark.parametrize("text", ["It is good.", "[[11]]", None])
def test_a_text_without_a_rating_is_asked_again_then_counts_for_nothing(choices, tmp_path, text):
    def mute_on_the_sky(request: dict[str, object]) -> Said:
        return says(text) if "blue" in request["messages"][1]["content"] else by_question(request)

    planned = plan(**choices)
    with judge_server(otherwise=mute_on_the_sky) as server:
        result = judged(planned, tmp_path, server)
        assert len(server.asked) == TURNS - 1 + planned.judge.asks
    assert (result.rated, result.unrated) == (6, 1)
    assert result.score == 6.0  # (9 + 6 + 10 + 8 + 1 + 2) / 6
    assert "stem" not in result.categories
    lines = (JUDGEMENTS.folder(tmp_path, planned.judge).path / "exchanges.jsonl").read_text().splitlines()
    assert sum(json.loads(line)["text"] == (text or "") for line in lines) == planned.judge.asks


def test_not_one_rating_is_a_failure(choices, tmp_path):
    with judge_server(otherwise=lambda request: says("No.")) as server:
        result = judged(plan(**choices), tmp_path, server)
    assert (result.status, result.score, result.rated, result.turns) == ("failed", None, 0, {})


@pytest.mark.parametrize("cut_at", [("answers", 1), ("answers", 3), ("ratings", 1), ("ratings", 5)])
def test_after_a_kill_it_goes_on_and_ends_the_same(choices, tmp_path, cut_at):
    planned = plan(**choices)
    with judge_server(otherwise=by_question) as server:
        whole = judged(planned, tmp_path / "whole", server)
        before = len(server.asked)
        with pytest.raises(PowerCutError):
            judged(planned, tmp_path / "cut", server, Watch(cut_at))
        for log in (tmp_path / "cut").rglob("*.jsonl"):
            with log.open("a") as file:
                file.write('{"question_id":1,"tur')  # what a kill leaves of a line
        watch = Watch()
        result = judged(planned, tmp_path / "cut", server, watch)
        assert len(server.asked) - before in (TURNS, TURNS + 1)  # one may have been under way at the cut
    (log,) = tmp_path.glob("cut/judge/*/exchanges.jsonl")
    kept = [(line["question_id"], line["turn"]) for line in map(json.loads, log.read_text().splitlines())]
    assert len(set(kept)) == len(kept) == TURNS  # what is kept is not asked twice
    assert result == whole
    phase, step = cut_at
    assert watch.steps.get("answers", 0) == (TURNS - step if phase == "answers" else 0)
    texts = [(one / "answers.jsonl").read_bytes() for one in sorted(tmp_path.glob("*/judge/*"))]
    assert texts[0] == texts[1]


def test_an_endpoint_that_fails_for_good_ends_it_and_the_command_goes_on_later(choices, tmp_path):
    planned = plan(**choices)
    with judge_server(*[says("[[5]]")] * 2, *[refuses(500, "oops")] * 3) as server:
        with pytest.raises(WorkError, match="no answer in 3 tries"):
            judged(planned, tmp_path, server)
        settled = [
            one for one in turn_states(planned, planned.judge, tmp_path) if one.is_settled(planned.judge.asks)
        ]
        assert len(settled) == 2
        result = judged(planned, tmp_path, server)
        assert len(server.asked) == TURNS + 3
    assert result.score == pytest.approx((5 * 2 + 6 * 5) / 7)


def test_a_dead_endpoint_is_told_before_the_model_is_loaded(choices, tmp_path, monkeypatch):
    with judge_server() as server:
        pass
    monkeypatch.setattr(answering, "load_causal", lambda *arguments: pytest.fail("loaded"))
    with pytest.raises(WorkError, match="cannot be reached"):
        judged(plan(**choices), tmp_path, server)
    assert not list(tmp_path.iterdir())


def test_another_judge_takes_the_same_answers(choices, tmp_path, monkeypatch):
    with judge_server() as server:
        judged(plan(**choices), tmp_path, server)
        monkeypatch.setattr(answering, "load_causal", lambda *arguments: pytest.fail("loaded"))
        judged(plan(**{**choices, "judge_model": "another"}), tmp_path, server)
        judged(plan(**{**choices, "categories": ("math",)}), tmp_path, server)
    assert len(list(tmp_path.glob("answers/*"))) == 1
    assert len(list(tmp_path.glob("judge/*"))) == 3


def test_the_key_is_in_no_file(choices, tmp_path):
    def echo(request: dict[str, object]) -> Said:
        return says(f"Your key is {KEY.value}. Rating: [[5]]")

    trouble = refuses(500, f"Authorization: Bearer {KEY.value}")
    with judge_server(trouble, otherwise=echo) as server:
        result = judged(plan(**choices), tmp_path, server)
    assert result.score == 5.0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("Bearer ***" in path.read_text() for path in files)
    assert not any("Secret" in path.read_text() for path in files)


def test_what_decides_a_judgement_names_its_folder(choices, tmp_path):
    def identity(**changes: object) -> str:
        return config_id(plan(**{**choices, **changes}).judge)

    assert identity() == identity()
    others = [
        {"seed": 1},
        {"judge_model": "b"},
        {"max_new_tokens": 5},
        {"max_questions": 2},
        {"precision": "bf16"},
    ]
    others += [{"categories": ("math",)}]
    assert len({identity(), *(identity(**changes) for changes in others)}) == len(others) + 1


def test_answers_are_in_float32_on_a_gpu_too_because_bfloat16_rounds_updates_away(choices, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    config = plan(**{**choices, "device": "auto"}).model.config
    assert (config.device, config.precision) == ("cuda", "fp32")
    assert plan(**{**choices, "device": "auto", "precision": "bf16"}).model.config.precision == "bf16"


def test_a_file_of_answers_that_is_damaged_is_named(choices, tmp_path):
    planned = plan(**choices)
    folder = ANSWERS.folder(tmp_path, planned.model.config).path
    folder.mkdir(parents=True)
    (folder / "answers.jsonl").write_text("nonsense\n")
    with judge_server() as server, pytest.raises(InputError, match=r"answers.jsonl:1: "):
        judged(planned, tmp_path, server)


def test_answers_alone_are_no_run(choices, tmp_path):
    planned = plan(**choices)
    answering.make_answers(planned.model, planned.questions, tmp_path, 1, NoProgress())
    assert not find_results(RUNS, [tmp_path])


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Good. Rating: [[7]]", 7),
        ("[[7.5]]", 7.5),
        ("Rating: [8]", 8),
        ("As [1] says, it is good: [[9]]", 9),
        ("[[10]]", 10),
        ("[[1]]", 1),
        ("[[11]]", None),
        ("[[0]]", None),
        ("[[-1]]", None),
        ("Rating: 7", None),
        ("[[rating]]", None),
        ("", None),
    ],
)
def test_the_rating_in_a_text(text, rating):
    assert rating_in(text) == rating


def test_a_turn_without_a_rating_counts_for_nothing():
    numbers = [("math", 1, 4.0), ("math", 2, None), ("stem", 1, 7.0), ("stem", 2, 10.0), ("coding", 1, None)]
    ratings = [
        Rating(question_id=1, category=category, turn=turn, rating=number, reference=False)
        for category, turn, number in numbers
    ]
    assert mean(ratings) == 7.0  # (4 + 7 + 10) / 3
    assert means_by("turn", ratings) == {"1": 5.5, "2": 10.0}
    assert means_by("category", ratings) == {"math": 4.0, "stem": 8.5}
    assert mean(ratings[1:2]) is None
