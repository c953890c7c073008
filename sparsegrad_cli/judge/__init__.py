"""LLM-as-a-judge: ratings of what a language model answers, as in MT-Bench's single-answer grading."""
