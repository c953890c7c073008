"""The form that a conversation takes as text: the tokenizer's own, or LLaMA-2's."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from ..config import ChatFormat
from ..errors import InputError
from .checkpoint import Checkpoint
from .load import load_tokenizer

# a turn of LLaMA-2's: <s>[INST] question [/INST] answer </s>
LLAMA_2 = """\
{%- if messages[0]['role'] == 'system' -%}
  {%- set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' -%}
  {%- set turns = messages[1:] -%}
{%- else -%}
  {%- set system = '' -%}
  {%- set turns = messages -%}
{%- endif -%}
{%- for turn in turns -%}
  {%- if turn['role'] == 'user' -%}
    {{- bos_token + '[INST] ' + ((system if loop.first else '') + turn['content']).strip() + ' [/INST]' -}}
  {%- else -%}
    {{- ' ' + turn['content'].strip() + ' ' + eos_token -}}
  {%- endif -%}
{%- endfor -%}"""


def chat_format_of(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Returns which of the two formats the tokenizer writes."""
    return "llama-2" if tokenizer.chat_template == LLAMA_2 else "own"


def load_chat_tokenizer(
    checkpoint: Checkpoint, chat_format: ChatFormat | None = None
) -> PreTrainedTokenizerBase:
    """Returns the checkpoint's tokenizer, with a chat template and a padding token.

    Args:
        chat_format: None takes the tokenizer's own where it has one, else LLaMA-2's.

    Raises:
        InputError: it has no such format, nor the tokens that LLaMA-2's is made of.
    """
    tokenizer = load_tokenizer(checkpoint)
    own = isinstance(tokenizer.chat_template, str)
    if chat_format == "own" and not own:
        raise InputError(
            f"--chat-format own: the tokenizer of {checkpoint.name} has no chat_template; take llama-2, or a "
            "model that was tuned to chat"
        )
    if chat_format == "llama-2" or not own:
        if tokenizer.bos_token is None or tokenizer.eos_token is None:
            raise InputError(
                f"{checkpoint.option}: its tokenizer has no chat format: neither a chat_template, nor tokens "
                "that begin and end a text, such as <s> and </s>, which LLaMA-2's is made of"
            )
        tokenizer.chat_template = LLAMA_2
    return tokenizer
