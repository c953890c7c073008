"""The prompts that a judge gets where no file gives others."""

SYSTEM = "You grade the answers of a chat assistant, strictly and fairly."

_SCALE = (
    "First say in a few sentences what is good and what is bad about it. Neither reward nor punish length "
    "as such. Then give one rating from 1 (useless) to 10 (could not be better), at the end and in double "
    "square brackets, such as: Rating: [[4]]"
)
_GENERAL = (
    "Look at whether it does what was asked, whether what it says is true, how useful and how complete it "
    "is, how clear, and, where the task calls for it, how inventive."
)
_BY_REFERENCE = (
    "A correct answer is given for comparison. What counts above all is whether the assistant comes to the "
    "same result by sound steps; other words, or another way to it, are no fault. Point out each mistake."
)

ONE_TURN = f"""\
Grade the assistant's answer to the question below. {_GENERAL}
{_SCALE}

<question>
{{question}}
</question>

<answer>
{{answer}}
</answer>"""

ONE_TURN_BY_REFERENCE = f"""\
Grade the assistant's answer to the question below. {_BY_REFERENCE}
{_SCALE}

<question>
{{question}}
</question>

<correct answer>
{{ref_answer_1}}
</correct answer>

<answer>
{{answer}}
</answer>"""

TWO_TURNS = f"""\
Below is a conversation of two turns. Grade the assistant's second answer alone; the first turn is there so \
that you understand the second. {_GENERAL}
{_SCALE}

<question 1>
{{question_1}}
</question 1>

<answer 1>
{{answer_1}}
</answer 1>

<question 2>
{{question_2}}
</question 2>

<answer 2>
{{answer_2}}
</answer 2>"""

TWO_TURNS_BY_REFERENCE = f"""\
Below is a conversation of two turns. Grade the assistant's second answer alone; the first turn is there so \
that you understand the second. {_BY_REFERENCE}
{_SCALE}

<question 1>
{{question_1}}
</question 1>

<correct answer 1>
{{ref_answer_1}}
</correct answer 1>

<answer 1>
{{answer_1}}
</answer 1>

<question 2>
{{question_2}}
</question 2>

<correct answer 2>
{{ref_answer_2}}
</correct answer 2>

<answer 2>
{{answer_2}}
</answer 2>"""
