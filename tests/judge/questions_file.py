"""A small file of questions in FastChat's format."""

from __future__ import annotations

import json
from pathlib import Path

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Tell a story of a dog.", "Make it short."]},
    {
        "question_id": 2,
        "category": "math",
        "turns": ["What is 1 + 1?", "And 2 + 2?"],
        "reference": ["2", "4"],
    },
    {"question_id": 3, "category": "math", "turns": ["What is 3 x 3?", "Halve it."]},
    {"question_id": 4, "category": "stem", "turns": ["Why is the sky blue?"]},
]


def write_lines(path: Path, documents: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return path


def write_questions(folder: Path) -> Path:
    """Seven turns: two with a reference, two that want one and have none."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_lines(folder / "questions.jsonl", QUESTIONS)
