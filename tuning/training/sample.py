"""One answer from the model as it stands in the middle of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.data.chat import PYTHON_FORMAT, PromptFormat, encode_messages
from tuning.data.template import chat_template

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class SampleAnswer:
    """``ended`` says that the model ended the answer itself, and not the cap."""

    text: str
    tokens: int
    ended: bool


def answer(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    max_new_tokens: int,
    prompt_format: PromptFormat = PYTHON_FORMAT,
) -> SampleAnswer:
    """The greedy answer to ``question``, asked as the run is trained, with the adapter as it is; draws no random
    number."""
    import torch

    messages = prompt_format.messages({"question": question, "input": "", "context": ""})
    prompt = torch.tensor([encode_messages(tokenizer, messages)], device=next(model.parameters()).device)
    base: Any = model.get_base_model()
    ends = chat_template(tokenizer).end_ids(base.generation_config)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        ids = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=sorted(ends) or None,
            pad_token_id=min(ends, default=0),
        )
    model.train(was_training)
    new = ids[0, prompt.shape[1] :].tolist()
    ended = bool(new) and new[-1] in ends
    return SampleAnswer(str(tokenizer.decode(new, skip_special_tokens=True)), len(new), ended)
