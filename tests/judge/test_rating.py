"""Ratings: what a text gives, and means computed by hand."""

import pytest

from sparsegrad_cli.judge.rating import mean, means_by, rating_in
from sparsegrad_cli.judge.schema import Rating


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
