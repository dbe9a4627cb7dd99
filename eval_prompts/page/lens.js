// The token lens: a text whose tokens are coloured by how much likelier tuning made them, and what stands behind each.
(function (lens) {
	const { el, setText } = lens;
	const STEPS = [0.1, 0.5, 1.5, 4]; // nats of change at which a token gets the next darker shade
	const [LOGPROB, RANK, ENTROPY, END, TOP] = [0, 1, 2, 3, 4];
	const BLOCK = 160; // tokens of a text without line ends that are laid out together

	const percent = (odds) => (odds === null ? "?" : odds >= 0.995 && odds < 1 ? ">99%" : odds > 0 && odds < 0.005 ? "<1%" : `${Math.round(odds * 100)}%`);
	const number = (value, digits = 2) => (value === null ? "\u221e" : value.toFixed(digits));
	const quoted = (text) => JSON.stringify(text);

	/** From -4 (base much likelier) to 4 (tuned much likelier). */
	function step(change) {
		const size = Math.abs(change);
		const shade = STEPS.filter((least) => size >= least).length;
		return change < 0 ? -shade : shade;
	}

	/** A change of log-probability in words: "tuned 4.5 times likelier". */
	function changeWords(change) {
		if (change === null) return "one side rules it out";
		const times = Math.exp(Math.abs(change));
		if (times < 1.05) return "equally likely for both";
		const said = times >= 1000 ? "over 1,000" : times >= 10 ? String(Math.round(times)) : times.toFixed(1);
		return `${said} times likelier for ${change > 0 ? "tuned" : "base"}`;
	}

	function legend() {
		const sample = (shade, words) => el("span", { class: "ll-token", "data-step": shade }, words);
		return el(
			"p",
			{ class: "ll-lens-legend", "aria-label": "Legend" },
			"base likelier ",
			sample(-4, "55\u00d7"), sample(-3, "4.5\u00d7"), sample(-2, "1.6\u00d7"), sample(-1, "1.1\u00d7"),
			sample(0, "same"),
			sample(1, "1.1\u00d7"), sample(2, "1.6\u00d7"), sample(3, "4.5\u00d7"), sample(4, "55\u00d7"),
			" tuned likelier"
		);
	}

	/** What a token looks like: its line end is shown as a sign, and one without characters of its own as a dot. */
	const shownText = (text) => (text === "" ? "\u00b7" : text.replace(/\n/g, "\u21b5\n").replace(/\t/g, "\u2192\t").replace(/^ +$/, (all) => "\u2423".repeat(all.length)));

	/** The first choices of one side at a place, each with a button that goes on from it. */
	function choiceTable(view, token, side, go) {
		const rows = token[side][TOP].map(([id, odds], at) => {
			const text = view.choices[side][id];
			const came = id === token.id && !view.aligned;
			const use = go && el("button", { type: "button", class: "ll-go", "aria-label": `What if ${side} went on with ${quoted(text)}` }, "what if");
			if (use) use.addEventListener("click", () => go(side, id, text));
			return el(
				"tr",
				{ "data-came": came || null },
				el("td", {}, String(at + 1)),
				el("td", { class: "ll-wish" }, quoted(text), came ? el("small", {}, " this one") : null),
				el("td", { class: "ll-odds", style: `--odds: ${Math.round(odds * 100)}%` }, percent(odds)),
				el("td", {}, use || "")
			);
		});
		return el("table", { "data-side": side }, el("caption", {}, `${side} wanted`), el("tbody", {}, ...rows));
	}

	function facts(view, token) {
		const pair = (name, words) => el("div", {}, el("dt", {}, name), el("dd", {}, words));
		const both = (read) => `base ${read(token.base)} \u00b7 tuned ${read(token.tuned)}`;
		return el(
			"dl",
			{ class: "ll-token-facts" },
			pair("probability", both((side) => (side[LOGPROB] === null ? "0" : percent(Math.exp(side[LOGPROB]))))),
			pair("log p", both((side) => number(side[LOGPROB]))),
			pair("rank", both((side) => side[RANK].toLocaleString())),
			pair("entropy", both((side) => (side[ENTROPY] === null ? "not told" : `${number(side[ENTROPY])} nats`))),
			view.aligned ? null : pair("KL", `base to tuned ${number(token.kl[0], 3)} \u00b7 tuned to base ${number(token.kl[1], 3)}`),
			pair("would end here", both((side) => (side[END] === null ? "not told" : percent(side[END]))))
		);
	}

	/** The panel that tells of one token; `goOn(side, view, place, id, text)` asks the server to continue from there. */
	lens.buildTokenPanel = function (goOn) {
		const body = el("div", { class: "ll-token-body" }, el("p", { class: "ll-hint" }, "Point at a token, or walk with the arrow keys, to see what both models wanted there."));
		const outcome = el("div", { class: "ll-what-if", role: "status" });
		const root = el("section", { class: "ll-token-panel", "aria-label": "The token in focus" }, body, outcome);
		let shown = null;
		let pinned = null;

		function show(view, place, pin) {
			if (pin) pinned = view.tokens[place];
			else if (pinned) return; // a click keeps its token until the next click
			const token = view.tokens[place];
			if (shown === token) return;
			shown = token;
			outcome.replaceChildren();
			const go = goOn && ((side, id, text) => continued(view, place, side, id, text));
			const onward = (side) => {
				const button = el("button", { type: "button", class: "ll-go" }, `${side} goes on from here`);
				button.addEventListener("click", () => continued(view, place, side, token.id, token.text));
				return button;
			};
			body.replaceChildren(
				el("p", { class: "ll-token-head" }, el("b", {}, quoted(token.text)), ` ${changeWords(token.change)}`, goOn ? el("span", { class: "ll-onward" }, "What if: ", onward("base"), onward("tuned")) : null),
				facts(view, token),
				el("div", { class: "ll-wanted" }, choiceTable(view, token, "base", go), choiceTable(view, token, "tuned", go))
			);
		}

		async function continued(view, place, side, id, text) {
			setText(outcome, `${side} writes on\u2026`);
			const answer = await goOn(side, view, place, id, text);
			if (answer.error) return outcome.replaceChildren(el("p", { class: "ll-vote-problem" }, answer.error));
			const ending = answer.ended ? "ended by itself" : `shown as far as ${answer.most} more tokens`;
			outcome.replaceChildren(el("p", {}, el("b", { "data-side": side }, side), ` with ${quoted(text)} here \u00b7 ${ending}`), el("pre", {}, answer.text));
		}

		return { root, show, free: () => (pinned = null) };
	};

	/** A text's tokens; `parting` marks one of them in words, `panel` tells of the one in focus. */
	lens.buildTokens = function (view, name, parting, panel) {
		const list = el("div", { class: "ll-tokens", role: "listbox", "aria-orientation": "horizontal", "aria-label": `Tokens of ${name}; arrow keys walk, Enter keeps one in the panel` });
		const items = [];
		let block = el("div", { class: "ll-token-block" });
		view.tokens.forEach((token, place) => {
			if (place === parting.place) {
				if (block.childNodes.length) list.append(block);
				list.append(el("p", { class: "ll-part" }, parting.words));
				block = el("div", { class: "ll-token-block" });
			}
			const item = el("span", { class: "ll-token", role: "option", "data-step": step(token.change ?? 99), "data-place": place, tabindex: "-1" }, shownText(token.text));
			items.push(item);
			block.append(item);
			if (token.text.endsWith("\n") || block.childNodes.length >= BLOCK) {
				list.append(block);
				block = el("div", { class: "ll-token-block" });
			}
		});
		if (block.childNodes.length) list.append(block);
		if (parting.place !== null && parting.place >= items.length) list.append(el("p", { class: "ll-part" }, parting.words));
		let current = 0;
		if (items.length) items[0].tabIndex = 0;

		function label(place) {
			const token = view.tokens[place];
			const here = place === parting.place ? `${parting.words}. ` : "";
			return `${here}${quoted(token.text)}, ${changeWords(token.change)}, rank base ${token.base[RANK]}, tuned ${token.tuned[RANK]}; token ${place + 1} of ${items.length}`;
		}

		function focus(place) {
			items[current].tabIndex = -1;
			current = Math.max(0, Math.min(items.length - 1, place));
			items[current].tabIndex = 0;
			items[current].setAttribute("aria-label", label(current));
			items[current].focus();
		}

		/** The next token, or with -1 the one before, that changed by a step of 3 or more. */
		function jump(from, way) {
			for (let place = from + way; place >= 0 && place < items.length; place += way) if (Math.abs(step(view.tokens[place].change ?? 99)) >= 3) return place;
			return from;
		}

		const KEYS = { ArrowRight: (at) => at + 1, ArrowLeft: (at) => at - 1, Home: () => 0, End: () => items.length - 1, ArrowDown: (at) => jump(at, 1), ArrowUp: (at) => jump(at, -1) };
		const placeOf = (event) => Number(event.target.closest?.(".ll-token")?.dataset.place ?? -1);
		list.addEventListener("keydown", (event) => {
			if (event.ctrlKey || event.metaKey || event.altKey || !items.length) return;
			const place = placeOf(event);
			if (place < 0) return;
			if (KEYS[event.key]) focus(KEYS[event.key](place));
			else if (event.key === "Enter" || event.key === " ") choose(place);
			else return;
			event.preventDefault();
			event.stopPropagation();
		});

		function choose(place) {
			list.querySelector("[aria-selected]")?.removeAttribute("aria-selected");
			items[place].setAttribute("aria-selected", "true");
			panel.show(view, place, true);
		}

		list.addEventListener("focusin", (event) => {
			const place = placeOf(event);
			if (place < 0) return;
			if (place !== current) {
				items[current].tabIndex = -1;
				current = place;
				items[current].tabIndex = 0;
			}
			items[place].setAttribute("aria-label", label(place));
			panel.free();
			panel.show(view, place, false);
		});
		list.addEventListener("mouseover", (event) => {
			const place = placeOf(event);
			if (place >= 0) panel.show(view, place, false);
		});
		list.addEventListener("click", (event) => {
			const place = placeOf(event);
			if (place >= 0) choose(place);
		});

		const notes = view.notes.map((note) => el("p", { class: "ll-lens-note" }, note));
		const nowhere = parting.place === null && parting.words ? el("p", { class: "ll-part" }, parting.words) : null;
		return el("div", { class: "ll-lens" }, el("p", { class: "ll-lens-sum" }, view.summary), ...notes, nowhere, list);
	};
	lens.buildLegend = legend;
	lens.oddsWords = percent;

	/** Asks the server, and makes of a call that failed an answer with its reason. */
	lens.asked = async function (call, wish) {
		try {
			return (await call(wish)) || { error: lens.whyNot() };
		} catch {
			return { error: lens.whyNot() };
		}
	};

	/** How a beginning is told to the server: in tokens up to the place, or between two tokenizers as text. */
	lens.beginning = function (view, place, id, text) {
		if (view.aligned) return { text: view.tokens.slice(0, place).map((token) => token.text).join("") + text };
		return { ids: [...view.tokens.slice(0, place).map((token) => token.id), id] };
	};

	let fill = null; // puts a question into the Lens tab, which is built when it is first opened
	let waiting = null; // the question that it is opened with

	/** Opens the Lens tab with a question, and gives the text the focus. */
	lens.readAnother = function (asked) {
		if (fill === null) waiting = asked;
		document.querySelector("#ll-tab-lens-button")?.click();
		fill?.(asked);
	};

	/** The Lens tab: a question, a text, and its tokens. */
	lens.mountLens = function (root, server) {
		root.classList.add("ll-lens-tab");
		const question = el("textarea", { rows: "2", id: "ll-lens-question", placeholder: "the question, put in the adapter's own prompt" });
		const text = el("textarea", { rows: "6", id: "ll-lens-text", placeholder: "any text, read as the answer" });
		const ended = el("input", { type: "checkbox" });
		const read = el("button", { type: "button", class: "ll-read" }, "Read");
		const said = el("p", { class: "ll-notice", role: "status", hidden: true });
		const found = el("div", { class: "ll-lens-found" });
		const say = (words, level) => {
			said.hidden = !words;
			said.dataset.level = level;
			setText(said, words);
		};
		async function go() {
			const wish = { question: question.value, text: text.value, ended: ended.checked };
			read.disabled = true;
			say("Both models read\u2026", "info");
			const view = await lens.asked(server.tokens, wish);
			read.disabled = false;
			if (view.error) return say(view.error, "error");
			say("", "info");
			const panel = lens.buildTokenPanel((side, view, place, id, text) => lens.asked(server.what_if, { question: wish.question, side, ...lens.beginning(view, place, id, text) }));
			found.replaceChildren(lens.buildLegend(), lens.buildTokens(view, "the text", view.parting, panel), panel.root);
		}
		read.addEventListener("click", go);
		root.replaceChildren(
			el("h2", {}, "Read any text with both models"),
			el("p", { class: "ll-hint" }, "Both models read the same text behind the same question. Each token is coloured by how much likelier tuning made it."),
			el("label", { for: "ll-lens-question" }, "Question"),
			question,
			el("label", { for: "ll-lens-text" }, "Text"),
			text,
			el("p", { class: "ll-lens-do" }, read, el("label", { class: "ll-check" }, ended, "and the end of the answer")),
			said,
			found,
			lens.buildStrengths(server),
			lens.buildSurveys(server)
		);
		fill = (asked) => {
			question.value = asked;
			text.focus();
		};
		if (waiting !== null) fill(waiting);
		waiting = null;
	};
})(window.LoraLens);
