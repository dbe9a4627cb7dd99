"""Code is found wherever a model puts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.judging import extract, syntax
from eval_prompts.judging.syntax import error_line

CODE = "def f(x):\n    return x + 1"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{CODE}\n```",
        f"```\n{CODE}\n```",
        f"~~~ py\n{CODE}\n~~~",
        f"````python3 title='f.py'\n{CODE}\n````",
        f"```{{.python .numberLines}}\n{CODE}\n```",
        f"Sure! Here it is:\n\n```Python\n{CODE}\n```\n\nThis adds one.",
        f"Here is the code: ```python\n{CODE}\n```",
        f"```python\n{CODE}```",
        f"```python\n{CODE}",
        f"```python\r\n{CODE}\r\n```".replace("\n    ", "\r\n    "),
        "1. A step:\n   ```python\n   def f(x):\n       return x + 1\n   ```\n2. Done",
        "> ```python\n> def f(x):\n>     return x + 1\n> ```",
        CODE,
        f"Here is a function that adds one:\n\n{CODE}\n\nIt returns the next number.",
        "To do it:\n\n    def f(x):\n        return x + 1\n\nThat is all.",
        "```python\n>>> def f(x):\n...     return x + 1\n```",
        f"First install:\n```bash\npip install x\n```\n```python\n{CODE}\n```\nOutput:\n```\n$ 1 2 3 =>\n```",
        f"```python\n{CODE}\n```\nAgain:\n```python\ndef f(x):\n    retu rn",
    ],
)
def test_finds_the_one_function(text):
    assert extract.code(text) == CODE


def test_several_blocks_are_one_program():
    text = f"```python\n{CODE}\n```\nUse it:\n```python\nprint(f(1))\n```"
    assert extract.code(text) == CODE + "\n\nprint(f(1))"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The average of a list is its sum over its length.",
        "```bash\nls\n```",
        "```\n```",
        "I would start from the first element, then compare: is it equal?",
        "For each element, do this:",
    ],
)
def test_no_code(text):
    assert extract.code(text) == ""


def test_broken_code_is_kept_for_the_verdict():
    assert extract.code("```python\ndef f(:\n```") == "def f(:"
    assert extract.code("```python\ndef f(x):\n    return (x") == "def f(x):\n    return (x"


def test_broken_bare_code_is_kept():
    assert extract.code("def f(x)\n    return x\n") == "def f(x)\n    return x"


def test_of_a_cut_answer_the_complete_statements_are_kept():
    text = f"```python\n{CODE}\n\nprint(f(1))\nprint(f(2"
    assert extract.code(text) == f"{CODE}\n\nprint(f(1))"
    assert extract.code(text.removeprefix("```python\n"), capped=True) == f"{CODE}\n\nprint(f(1))"
    assert extract.code(f"{CODE}\n\nprint(f(2") == f"{CODE}\n\nprint(f(2"


def test_a_lone_expression_is_code():
    assert extract.code("[i * i for i in range(1, 11)]") == "[i * i for i in range(1, 11)]"


def test_blocks_name_language_and_end():
    found = extract.blocks("```Bash\nls\n```\n```python\nx = 1")
    assert [(block.language, block.code, block.closed) for block in found] == [
        ("bash", "ls", True),
        ("python", "x = 1", False),
    ]


def test_a_longer_fence_holds_a_shorter_one():
    assert extract.blocks("````\n```\nx\n```\n````")[0].code == "```\nx\n```"


def test_bare_script_of_several_statements():
    script = "numbers = [1, 2, 3]\n\nif 2 in numbers:\n    print('yes')\nelse:\n    print('no')"
    assert extract.code(script + "\n\nThis prints yes.") == script


def test_deep_nesting_is_no_crash():
    assert not syntax.parses("(" * 100_000)
    assert not syntax.parses("x = '\0'")
    assert extract.code("```python\n" + "-" * 50_000 + "1\n```")


@given(st.text(alphabet="`~\n >#ab=()\"'\\:\t0123", max_size=200))
def test_any_text_is_taken(text):
    assert isinstance(extract.code(text), str)
    for block in extract.blocks(text):
        assert isinstance(block.closed, bool)


@given(st.lists(st.sampled_from(["x = 1", "if x:", "    y = 2", "print(x)", "", "# note"]), min_size=1, max_size=8))
def test_fenced_code_comes_back_as_it_is(lines):
    body = "\n".join(lines).strip("\n")
    found = extract.blocks(f"words\n```python\n{body}\n```\nwords")
    assert len(found) == 1
    assert found[0].code.split() == body.split()


DOCSTRING = 'def f(x):\n    """Adds one.\n\n    ```\n    f(1)\n    ```\n    """\n    return x + 1'


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"```{tag}\n{CODE}\n```"
            for tag in (
                "Python",
                "PYTHON3",
                "python3.11",
                "python-repl",
                "python-console",
                "{python}",
                "python:app.py",
                "pyi",
                "py3",
                "text",
                "txt",
                "plaintext",
                "code",
                "Copy",
                "jupyter-python",
                "ipynb",
                "ipython",
                "app.py",
                "python, editable",
            )
        ),
        f"````markdown\n```python\n{CODE}\n```\n````",
        f"```markdown\n```python\n{CODE}\n```\n```",
        f"````\nSee:\n```python\n{CODE}\n```\n````",
        f"<think>\n```python\nprint(nothing)\n```\n</think>\n```python\n{CODE}\n```",
        f"So I would try\n```python\nprint(nothing)\n```\n</think>\n\n```python\n{CODE}\n```",
        f"<think>Let me see.</think>```python\n{CODE}\n```",
        f"```python\n{CODE}\n```\nOutput:\n```\nolleh\n```",
        f"```python\n{CODE}\n```\nRun:\n```\nls\n```",
        f"```python\n{CODE}\n```\nIt prints:\n```\nTrue\n```\nand\n```\nx\n1\n```",
        f"```\n{CODE}\n```\nOutput:\n```\nolleh\n```",
        f"```python\n{CODE}\n```\nOutput:\n```\nCounter({{'a': 2}})\n```",
        f"```python\n{CODE}\n```\nOutput:\n```\nf = 3\n```",
        f"```python\n{CODE}\n```\nOutput:\n```\nArea: 3.14\n```",
        f"```python\n{CODE}\n```\nSave it as `f.py`:\n```console\npython f.py\n```",
        f"The wrong way:\n```python\nprint(nothing)\n```\nThe right way:\n```python\n{CODE}\n```",
        f"```python\n# Bad\nprint(nothing)\n```\n```python\n{CODE}\n```",
        f"```python\n\ufeff{CODE}\n```",
        "```python def f(x):\n    return x + 1\n```",
        "```pycon\n>>> def f(x):\n...     return x + 1\n...\n>>> f(1)\n2\n```".replace("\n>>> f(1)\n2", ""),
    ],
)
def test_finds_the_one_function_wherever_models_put_it(text):
    assert extract.code(text).strip() == CODE


def test_a_fence_in_a_docstring_closes_nothing():
    assert extract.code(f"```python\n{DOCSTRING}\n```\nDone.") == DOCSTRING
    top = DOCSTRING.replace("    ```", "```").replace("    f(1)", "f(1)")
    assert extract.code(f"```python\n{top}\n```\nDone.") == top
    tagged = DOCSTRING.replace("    ```\n    f", "    ```python\n    f")
    assert extract.code(f"```python\n{tagged}\n```") == tagged


def test_an_only_draft_is_no_answer():
    assert extract.code("<think>\n```python\nprint(1)\n```\nHm") == ""


def test_a_closing_tag_in_a_string_is_no_draft():
    source = "text = '</think>'\nprint(text)"
    assert extract.code(f"```python\n{source}\n```") == source


def test_future_imports_come_first_and_once():
    blocks = "\n".join(f"```python\nfrom __future__ import annotations\nx{n} = {n}\n```" for n in range(2))
    source = extract.code(blocks)
    assert source.count("__future__") == 1
    compile(source, "x", "exec")


def test_a_fence_on_one_line():
    assert extract.code("```python def f(x): return x + 1 ```") == "def f(x): return x + 1"
    assert extract.code("Use ```print(1)```.") == "print(1)"


def test_commands_of_ipython_are_left_out_and_said():
    program = extract.extract("```python\n%matplotlib inline\n!pip install x\nx = 5\nif x:\n    !ls\nprint(x % 3)\n```")
    compile(program.code, "x", "exec")
    assert "print(x % 3)" in program.code
    assert program.notes == ("3 commands of IPython's own (% or !) left out.",)


@pytest.mark.parametrize(
    "text", ["```\nRoses are red,\nviolets are blue.\n```", "```text\nHello there\n```", "```md\n# Hi\n```"]
)
def test_what_only_stands_in_a_fence_is_no_code(text):
    assert extract.code(text) == ""


@pytest.mark.parametrize(
    "line",
    ["~" * 20_000 + "`", "a" + " " * 20_000 + "x", "a:" + " " * 20_000, "```a```" + " " * 20_000 + "x", "'" * 20_001],
)
def test_a_long_odd_line_is_read_at_once(line):
    """Each of these took a pattern a time that grows with the square or the cube of the line: hours."""
    assert isinstance(extract.code(f"{line}\n```python\n{line}\n```\n{line}"), str)


def test_of_many_lines_after_an_error_few_are_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(extract, "error_line", lambda source: tried.append(source) or error_line(source))
    extract.complete_statements("def f(:\n" + "x = 1\n" * 3000)
    assert len(tried) < 5
