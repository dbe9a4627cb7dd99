"""The plain format: how a base model without a chat template is asked, with headings instead of control tokens.

It is an ordinary Jinja chat template whose first line names its stop strings, and so is any file given with
``--chat-template``: ``{# stop: "\\n### Question:" #}``.
"""

from __future__ import annotations

import json
import re

from tuning.errors import UserError

NAME = "plain"
PLAIN_TEMPLATE = (
    '{# stop: "\\n### Question:" "\\n### Answer:" #}'
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '### Question:\\n' + message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'tool' %}{{ '### Result:\\n' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ '### Answer:\\n' + message['content'] + eos_token + '\\n\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Answer:\\n' }}{% endif %}"
)
STOP_COMMENT = re.compile(r"\A\s*\{#-?\s*stop:(?P<strings>.*?)-?#\}", re.DOTALL)
QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def stop_strings(template: str) -> tuple[str, ...]:
    """The stop strings that a template names in its first comment; none for most.

    Raises UserError if the comment holds something that is not a string in double quotes.
    """
    comment = STOP_COMMENT.match(template)
    if comment is None:
        return ()
    quoted = QUOTED.findall(comment["strings"])
    if not quoted or re.sub(r"[\s,]", "", QUOTED.sub("", comment["strings"])):
        raise UserError(
            "The first line of the chat template names its stop strings wrongly: "
            'write {# stop: "first" "second" #}, each in double quotes.'
        )
    try:
        strings = tuple(json.loads(text) for text in quoted)
    except ValueError as error:
        raise UserError(f"A stop string of the chat template is wrong ({error}): write it as JSON does.") from error
    if not all(strings):
        raise UserError("A stop string of the chat template is empty: leave it out.")
    return strings
