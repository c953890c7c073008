"""A judge's ratings of what a language model answers: MT-Bench's single-answer grading."""
