"""How the page draws answers: Markdown, code, diffs and the filter; nobody's text becomes markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from eval_prompts.tasks.probes import PROBES
from tests.app.visiting import CONTRAST, DIFF, HELD, ask, code, screenshot, stored_comparison, wait_until_done

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>window.harmed = 1</script> <img src=x onerror='window.harmed = 2'> ![p](https://example.com/p.png) "
    "[go](javascript:window.harmed=3) <|im_start|>system\n\n```html\n<b onclick='window.harmed = 4'>x</b></pre>\n```"
)


def test_the_diff_is_one_click_away_and_moves_nothing(visit):
    page = visit(stored=[stored_comparison((code("a = 1\nb = 2\nprint(a)"), code("a = 1\nb = 3")))])
    height = page.locator(".ll-row").bounding_box()["height"]
    page.click(DIFF)
    expect(page.locator(DIFF).first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-side=base] .ll-diff-text")).to_have_text(["a = 1", "b = 2", "print(a)"])
    expect(page.locator("[data-side=tuned] .ll-diff-text")).to_have_text(["a = 1", "b = 3"])
    expect(page.locator("[data-side=base] .ll-diff mark")).to_have_text(["2"])
    expect(page.locator(".ll-summary").first).to_have_text("\u2212 2 lines only in base \u00b7 + 1 line only in tuned")
    expect(page.locator(".ll-body").first).to_be_hidden()
    assert page.locator(".ll-row").bounding_box()["height"] == height
    screenshot(page, "diff")
    page.click(DIFF)
    expect(page.locator(".ll-body").first).to_be_visible()


EMPTY = """() => {
    const questions = [{ id: "ec1aaf2516cff806", title: "", question: "Of a row?", number: 1 }];
    const examples = [{ kind: "gain", question: "Gained?\\nassert x" }, { kind: "tie", question: "Tied?" }];
    LoraLens.evidence = async () => ({ line: "It gained.", how: [], examples });
    LoraLens.taskQuestions = async () => ({ questions, count: 1, all: 1, size: 50 });
    const root = document.createElement("div");
    root.id = "drawn";
    document.body.append(root);
    LoraLens.buildEmpty(root)();
}"""


def test_an_empty_board_names_its_examples_and_what_there_is_none_of(visit):
    page = visit()
    page.evaluate(EMPTY)
    told = page.locator("#drawn .ll-evidence-examples")
    expect(told).to_have_text("See for yourself: a gain Gained?a tie Tied?There is no example of a loss.")
    expect(page.locator("#drawn li")).to_have_text("Of a row?")  # a digest names nothing


def test_a_draft_is_folded_away_and_one_that_goes_on_is_said(visit):
    draft = "<think>\nFirst <b>weigh</b> it.\n</think>\n\n"
    page = visit(stored=[stored_comparison((draft + "So **yes**.", "<think>Never ending"))])
    base, tuned = (page.locator(f".ll-side[data-side={side}]") for side in ("base", "tuned"))
    expect(base.locator(".ll-body")).to_have_text("So yes.")
    expect(base.locator(".ll-thinking > pre")).to_be_hidden()
    base.get_by_text("Thinking", exact=True).click()
    expect(base.locator(".ll-thinking > pre")).to_have_text("First <b>weigh</b> it.")
    expect(tuned.locator("summary")).to_have_text("Thinking, not finished")
    expect(tuned.locator(".ll-hint")).to_contain_text("did not come to an end")
    expect(tuned.locator(".ll-ending")).to_contain_text("while still thinking")
    screenshot(page, "thinking")
    page = visit(stored=[stored_comparison(("So yes.", "No."))])
    expect(page.locator(".ll-thinking").first).to_be_hidden()


def test_the_filter_hides_rows_whose_answers_are_the_same(visit):
    page = visit(stored=[stored_comparison(("same", "same"), ("one", "other"), ("x", "x"))])
    expect(page.locator(".ll-row:visible")).to_have_count(3)
    page.get_by_label("Only rows whose answers differ").check()
    expect(page.locator(".ll-row:visible h3")).to_have_text([PROBES[1].title])
    page.reload(wait_until="domcontentloaded")
    page.wait_for_selector(".ll-row:visible")
    expect(page.locator(".ll-row:visible")).to_have_count(1)


def test_the_filter_says_so_when_nothing_is_left(visit):
    page = visit(stored=[stored_comparison(("same", "same"), ("x", "x"))])
    page.get_by_label("Only rows whose answers differ").check()
    expect(page.locator(".ll-row:visible")).to_have_count(0)
    expect(page.locator(".ll-nothing").first).to_contain_text("Every answer is the same")


def test_answers_and_their_code_can_be_copied(visit):
    answer = code("a = 1\n\nif a:\n    print(a)")
    page = visit(stored=[stored_comparison((answer, "No code here."))])
    base, tuned = page.locator(".ll-side").all()
    clipboard = "navigator.clipboard.readText()"
    base.get_by_role("button", name="Copy answer").click()
    base.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate(clipboard) == answer
    base.get_by_role("button", name="Copy code").click()
    base.get_by_role("button", name="Copied").nth(1).wait_for()
    assert page.evaluate(clipboard).strip() == "a = 1\n\nif a:\n    print(a)"
    base.locator("figcaption button").click()
    base.locator("figcaption").get_by_text("Copied").wait_for()
    assert page.evaluate(clipboard).strip() == "a = 1\n\nif a:\n    print(a)"
    expect(tuned.get_by_role("button", name="Copy code")).to_be_disabled()


def test_nobodys_text_becomes_markup(visit):
    page = visit(stored=[stored_comparison((HOSTILE, HOSTILE))])
    body = page.locator(".ll-body").first
    expect(body).to_contain_text("<script>window.harmed = 1</script>")
    expect(body).to_contain_text("<|im_start|>system")
    expect(body.locator("script, img, b, a[href^='javascript']")).to_have_count(0)
    ask(page, HOSTILE)
    wait_until_done(page, answers=2)
    expect(page.locator(".ll-own").first).to_have_text(HOSTILE)
    assert page.evaluate("window.harmed") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n\nthree", ["P:one\ntwo", "P:three"]),
        ("## Head #", ["P:Head"]),
        ("1. a\n2. b `c`", ["OL:ab c"]),
        ("3. a", ["OL:a"]),
        ("- a\n  - b\n\n- c", ["UL:abc"]),
        ("> said", ["BLOCKQUOTE:said"]),
        ("---", ["HR:"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |", ["DIV:ab12"]),
        ("**bold** and *soft* and 2 * 3 * 4", ["P:bold and soft and 2 * 3 * 4"]),
        ("snake_case_name", ["P:snake_case_name"]),
        ("```\nopen", ["FIGURE:codeCopyopen"]),
        ("~~~py\na\n~~~\nafter", ["FIGURE:pyCopya", "P:after"]),
        ("1. do:\n   ```python\n   x = 1\n   ```\n2. then", ["OL:do:", "FIGURE:pythonCopyx = 1", "OL:then"]),
        ("`` a`b ``", ["P:a`b"]),
        ("[t](https://example.com/) [u](ftp://x)", ["P:t [u](ftp://x)"]),
        ("", []),
    ],
)
def test_markdown(markdown_page, text, expected):
    drawn = markdown_page.evaluate(
        """(text) => {
            const box = document.createElement("div");
            for (let end = 0; end <= text.length; end++) LoraLens.renderMarkdown(box, text.slice(0, end));
            return [...box.children].map((child) => `${child.tagName}:${child.textContent}`);
        }""",
        text,
    )
    assert drawn == expected


@pytest.fixture(scope="module")
def markdown_page(browser, app):
    page = browser.new_page()
    page.goto(app.url, wait_until="domcontentloaded")
    page.wait_for_selector(".ll-state")
    yield page
    page.close()


def test_highlighting_loses_no_character(markdown_page):
    source = (
        Path(__file__).read_text(encoding="utf-8") + "\n@ a @ b 0x1F 1_000.5e-3j 'é' naïve \\\ns = f'''open {x!r}\n"
    )
    lines = markdown_page.evaluate("(code) => LoraLens.highlight(code, 'python')", source)
    assert "\n".join("".join(text for _, text in line) for line in lines) == source
    kinds = {(kind, text) for line in lines for kind, text in line}
    assert {("keyword", "def"), ("title", "test_highlighting_loses_no_character"), ("number", "0x1F")} <= kinds


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_its_ground(visit, theme):
    page = visit(theme=theme, stored=[stored_comparison((code("a = 'b'  # c"), code("a = 1")), ("same", "same"))])
    page.locator(DIFF).first.click()
    ratios = page.evaluate(CONTRAST)
    assert len(ratios) > 20
    assert [pair for pair in ratios if pair[0] < 4.5] == []
    screenshot(page, f"theme-{theme}")


def test_news_that_comes_faster_than_it_is_drawn_is_skipped_not_queued(visit):
    page = visit()
    page.wait_for_selector(".ll-state[data-state=ready]")
    page.clock.install()
    page.evaluate(HELD)
    page.evaluate(
        """(told) => {
            let late = 0; // what drawing has taken so far
            const now = performance.now.bind(performance);
            performance.now = () => now() + late;
            window.drawn = [];
            const row = document.createElement("li");
            const update = (_, view) => {
                if (window.torn) throw new Error("torn");
                drawn.push(view.number);
                late += 100;
            };
            LoraLens.buildRow = () => ({ root: row, update });
            const props = {};
            LoraLens.mountBoard(document.createElement("div"), props, (_, work) => (window.received = work), held);
            drawn.length = 0;
            window.receive = (number, running) => {
                props.value = { ...told, running, number };
                received();
            };
        }""",
        stored_comparison((code("a"), code("b"))),
    )
    for number in range(20):
        page.evaluate("(number) => receive(number, true)", number)
        page.clock.run_for(20)
    found = page.evaluate("drawn")
    assert 2 <= len(found) <= 6  # 400 ms of news, of which each drawing takes 100
    assert found == sorted(found)
    page.evaluate("receive(20, false)")
    assert page.evaluate("drawn.at(-1)") == 20  # what is final is drawn at once
    page.clock.run_for(1000)
    assert page.evaluate("drawn.filter((number) => number === 20).length") == 1
    page.evaluate(
        """() => {
            window.works = [];
            window.requestAnimationFrame = (work) => works.push(work);
            window.torn = true;
            receive(21, true);
            try { works[0](); } catch (error) { window.failure = error.message; }
            window.torn = false;
        }"""
    )
    page.clock.run_for(1000)
    frames = page.evaluate("(works.length = 0, receive(22, true), works.length)")
    assert (page.evaluate("failure"), frames) == ("torn", 1)  # a drawing that fails is not the last
