"""Chat templates in the manner of the families of models, each with its control tokens and what closes an answer.

They are written for the tests; what matters is kept: where the system text goes, what is trimmed, what is refused, what
earlier turns look like, and what closes a turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conftest import build_tokenizer


@dataclass(frozen=True)
class Family:
    """``closing`` ends an answer, ``end`` is the tokenizer's end token.

    ``folds`` says that a system text goes into the user's turn, ``drafts`` that earlier turns are shown otherwise than
    they are trained, and ``late`` that the system text stands in the last question alone, until that is answered.
    """

    template: str
    closing: str
    end: str = "</s>"
    controls: tuple[str, ...] = ()
    folds: bool = False
    drafts: bool = False
    late: bool = False

    def tokenizer(self):
        """A byte-level tokenizer with the family's control tokens and template."""
        found = build_tokenizer(pad_is_end=False)
        found.add_special_tokens({"bos_token": "<s>", "eos_token": self.end})
        found.add_tokens(list(self.controls), special_tokens=True)
        found.chat_template = self.template
        return found


def turns(user: str, assistant: str, system: str = "", asked: str = "", start: str = "") -> str:
    """A template that writes each turn by itself; ``m`` is the message, ``asked`` the assistant's header."""
    other = f"{{% elif m['role'] == 'system' %}}{system}" if system else ""
    return (
        f"{start}{{% for m in messages %}}{{% if m['role'] == 'user' %}}{user}{{% elif m['role'] == 'assistant' %}}"
        f"{assistant}{other}{{% endif %}}{{% endfor %}}{{% if add_generation_prompt %}}{asked}{{% endif %}}"
    )


BOS = "{{ bos_token }}"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}"
DEFAULT_SYSTEM += "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}{% endfor %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
LAST_QUESTION = (
    "{% set at = namespace(last=0) %}{% for m in messages %}{% if m['role'] == 'user' %}{% set at.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
)
QWEN3 = LAST_QUESTION + (
    "{% for m in messages %}{% set text = m['content'] %}{% if m['role'] == 'assistant' %}{% set draft = '' %}"
    "{% if '</think>' in text %}{% set draft = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > at.last %}{{ '<think>\n' + draft + '\n</think>\n\n' }}{% endif %}{{ text + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + text + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set head = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set head = none %}{% endif %}{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.first and head is not none %}{% set text = '<<SYS>>\n' + head + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set text = m['content'] %}{% endif %}{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA3 = (
    BOS + "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim "
    "+ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA31 = LLAMA3.replace(
    "{% for m in messages %}",
    "{% set date = strftime_now('%d %b %Y') %}{% if messages[0]['role'] == 'system' %}"
    "{% set head = messages[0]['content'] | trim %}{% set messages = messages[1:] %}"
    "{% else %}{% set head = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date + '\n\n' + head + '<|eot_id|>' }}"
    "{% for m in messages %}",
)
GEMMA = (
    BOS
    + NO_SYSTEM
    + ALTERNATING
    + "{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA3 = (
    BOS + "{% if messages[0]['role'] == 'system' %}{% set head = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set head = '' %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (head if loop.first else '') }}{% if m['content'] is string %}"
    "{{ m['content'] | trim }}{% else %}{% for part in m['content'] %}{{ part['text'] | trim }}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL3 = (
    "{% if messages[0]['role'] == 'system' %}{% set head = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}" + BOS + "{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}{% if loop.last and head is defined %}"
    "{{ '[INST] ' + head + '\n\n' + m['content'] + '[/INST]' }}"
    "{% else %}{{ '[INST] ' + m['content'] + '[/INST]' }}{% endif %}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
DEEPSEEK_R1 = (
    BOS + "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}{% elif m['role'] == 'user' %}"
    "{{ '<｜User｜>' + m['content'] }}{% else %}{% set text = m['content'].split('</think>')[-1] %}"
    "{{ '<｜Assistant｜>' + text + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
SMOLLM3 = (
    "{{ '<|im_start|>system\n' }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '<|im_end|>\n' }}"
    "{% set rest = messages[1:] %}"
    "{% else %}{{ 'Reasoning Mode: /think<|im_end|>\n' }}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m['role'] == 'user' %}{{ '<|im_start|>user\n' + m['content'] + '<|im_end|>\n' }}"
    "{% else %}{% generation %}{{ '<|im_start|>assistant\n' + m['content'].lstrip('\n') + '<|im_end|>\n' }}"
    "{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HARMONY = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + ('<|return|>' if loop.last else '<|end|>') }}"
    "{% else %}"
    "{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
OF_GEMMA = ("<start_of_turn>", "<end_of_turn>")
COMMAND = (
    "<|START_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
)
GLM = ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>")
GLM4 = LAST_QUESTION + (
    "[gMASK]<sop>{% for m in messages %}{% set text = m['content'] %}{% if m['role'] == 'assistant' %}"
    "{% set draft = '' %}{% if '</think>' in text %}"
    "{% set draft = text.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set text = text.split('</think>')[-1] %}{% endif %}{{ '<|assistant|>\n<think>' }}"
    "{% if loop.index0 > at.last %}{{ draft }}{% endif %}{{ '</think>\n' + text.strip() }}"
    "{% else %}{{ '<|' + m['role'] + '|>\n' + text }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
FAMILIES = {
    "GLM 4.6": Family(GLM4, "<|endoftext|>", "<|endoftext|>", GLM, drafts=True),
    "ChatML": Family(CHATML, "<|im_end|>", "<|im_end|>"),
    "ChatML ended otherwise": Family(CHATML, "<|im_end|>", "<|endoftext|>"),
    "Qwen 2.5": Family(DEFAULT_SYSTEM + CHATML, "<|im_end|>", "<|im_end|>"),
    "Qwen 3": Family(QWEN3, "<|im_end|>", "<|im_end|>", drafts=True),
    "Qwen 3, always thinking": Family(
        QWEN3.replace(
            "{{ '<|im_start|>assistant\n' }}{% if enable", "{{ '<|im_start|>assistant\n<think>\n' }}{% if enable"
        ),
        "<|im_end|>",
        "<|im_end|>",
        drafts=True,
    ),
    "Llama 2": Family(LLAMA2, " </s>"),
    "Llama 3": Family(LLAMA3, "<|eot_id|>", "<|endoftext|>", HEADERS),
    "Llama 3.1": Family(LLAMA31, "<|eot_id|>", "<|eot_id|>", HEADERS),
    "Gemma": Family(GEMMA, "<end_of_turn>", "<|endoftext|>", OF_GEMMA, folds=True),
    "Gemma 3": Family(GEMMA3, "<end_of_turn>", "<end_of_turn>", OF_GEMMA),
    "Phi-3": Family(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
        "<|end|>",
        "<|endoftext|>",
        ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
    ),
    "Phi-4": Family(
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
        "<|im_end|>",
        "<|im_end|>",
        ("<|im_sep|>",),
    ),
    "Mistral v1": Family(
        BOS
        + NO_SYSTEM
        + ALTERNATING
        + turns("{{ '[INST] ' + m['content'] + ' [/INST]' }}", "{{ ' ' + m['content'] + eos_token }}"),
        "</s>",
        folds=True,
    ),
    "Mistral v3": Family(MISTRAL3, "</s>", controls=("[INST]", "[/INST]"), drafts=True, late=True),
    "Mistral v7": Family(
        turns(
            "{{ '[INST]' + m['content'] + '[/INST]' }}",
            "{{ m['content'] + eos_token }}",
            "{{ '[SYSTEM_PROMPT]' + m['content'] + '[/SYSTEM_PROMPT]' }}",
            start=BOS,
        ),
        "</s>",
        controls=("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    ),
    "Zephyr": Family(
        turns(
            "{{ '<|user|>\n' + m['content'] + eos_token + '\n' }}",
            "{{ '<|assistant|>\n' + m['content'] + eos_token + '\n' }}",
            "{{ '<|system|>\n' + m['content'] + eos_token + '\n' }}",
            "{{ '<|assistant|>\n' }}",
        ),
        "</s>",
    ),
    "DeepSeek": Family(
        turns(
            "{{ 'User: ' + m['content'] + '\n\n' }}",
            "{{ 'Assistant: ' + m['content'] + eos_token }}",
            "{{ m['content'] + '\n\n' }}",
            "{{ 'Assistant:' }}",
            BOS,
        ),
        "</s>",
    ),
    "Granite": Family(
        "{% for m in messages %}{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] }}"
        "{{ '<|end_of_text|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
        "<|end_of_text|>",
        "<|end_of_text|>",
        ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    ),
    "Command-R": Family(
        turns(
            "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m['content'] | trim + '<|END_OF_TURN_TOKEN|>' }}",
            "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + m['content'] | trim + '<|END_OF_TURN_TOKEN|>' }}",
            "{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + m['content'] | trim + '<|END_OF_TURN_TOKEN|>' }}",
            "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}",
            BOS,
        ),
        "<|END_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
        COMMAND,
    ),
    "OLMo": Family(
        turns(
            "{{ '<|user|>\n' + m['content'] + '\n' }}",
            "{% if not loop.last %}{{ '<|assistant|>\n' + m['content'] + eos_token + '\n' }}"
            "{% else %}{{ '<|assistant|>\n' + m['content'] + eos_token }}{% endif %}",
            "{{ '<|system|>\n' + m['content'] + '\n' }}",
            "{{ '<|assistant|>\n' }}",
            BOS,
        ),
        "<|endoftext|>",
        "<|endoftext|>",
    ),
    "SmolLM3": Family(SMOLLM3, "<|im_end|>", "<|im_end|>"),
    "marked": Family(MARKED, "<|im_end|>", "<|im_end|>"),
    "Vicuna": Family(
        turns(
            "{{ 'USER: ' + m['content'] + ' ' }}",
            "{{ 'ASSISTANT: ' + m['content'] + eos_token }}",
            "{{ m['content'] + ' ' }}",
            "{{ 'ASSISTANT:' }}",
        ),
        "</s>",
    ),
    "Alpaca": Family(
        turns(
            "{{ '### Instruction:\n' + m['content'] + '\n\n' }}",
            "{{ '### Response:\n' + m['content'] + eos_token + '\n\n' }}",
            "{{ m['content'] + '\n\n' }}",
            "{{ '### Response:\n' }}",
        ),
        "</s>",
    ),
    "Falcon": Family(
        turns(
            "{{ 'User: ' + m['content'] }}",
            "{{ '\n\nFalcon: ' + m['content'] + '\n\n' }}",
            "{{ 'System: ' + m['content'] + '\n\n' }}",
            "{{ '\n\nFalcon: ' }}",
        ),
        "<|endoftext|>",
        "<|endoftext|>",
        drafts=True,
    ),
    "ChatGLM": Family(
        "{{ '[gMASK]<sop>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
        "<|endoftext|>",
        "<|endoftext|>",
        ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"),
        drafts=True,
    ),
    "OpenChat": Family(
        BOS + "{% for m in messages %}{{ 'GPT4 Correct ' + m['role'].title() + ': ' + m['content'] }}"
        "{{ '<|end_of_turn|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}",
        "<|end_of_turn|>",
        "<|end_of_turn|>",
        ("<|end_of_turn|>",),
    ),
    "gpt-oss": Family(
        HARMONY,
        "<|return|>",
        "<|return|>",
        ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"),
        drafts=True,
    ),
    "parts only": Family(
        CHATML.replace("m['content']", "(m['content'] | map(attribute='text') | join)"), "<|im_end|>", "<|im_end|>"
    ),
}
