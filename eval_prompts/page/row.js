// One question with its two answers, or with the diff of their code, in a frame whose height does not change.
(function (lens) {
	const { el, setText } = lens;
	const SIGNS = { ended: "\u25cf", capped: "\u26a0\ufe0e", cancelled: "\u25a0", failed: "\u2715" };
	const HIDDEN = { left: "a", right: "b" };

	function diffLine(line, mark) {
		const text = el("span", { class: "ll-diff-text" });
		for (const [piece, changed] of line.pieces) text.append(changed ? el("mark", {}, piece) : piece);
		return el("div", { class: "ll-diff-line", "data-mark": mark }, el("span", { class: "ll-diff-number" }, String(line.number)), text);
	}

	/** The sign of a line that only this place has: minus for base, plus for tuned, the same for both while hidden. */
	const markAt = (row, place) => (row.names ? { base: "\u2212", tuned: "+" }[row.names[place]] : "\u2022");

	function drawDiff(container, row, place) {
		const has = row.diff.some((pair) => pair[place]);
		const lines = row.diff.map((pair) => {
			if (!pair[place]) return el("div", { class: "ll-diff-line", "data-mark": "gap" });
			return diffLine(pair[place], pair.kind === "same" ? " " : markAt(row, place));
		});
		container.replaceChildren(...(has ? lines : [el("p", { class: "ll-hint" }, "No code in this answer.")]));
	}

	function diffSummary(row) {
		const lines = (count) => `${count} line${count === 1 ? "" : "s"}`;
		const only = (place) => row.diff.filter((pair) => pair.kind === "changed" || pair.kind === place).length;
		const said = (place) => `${markAt(row, place)} ${lines(only(place))} only in ${row.names ? lens.sideWord(row, row.names[place]) : lens.nameAt(row, place)}`;
		if (row.differs === null) return "The diff is drawn when both answers are complete.";
		if (!row.diff.length) return "Neither answer holds a word.";
		if (!only("left") && !only("right")) return row.differs ? Object.values(row.sides).some((side) => side.code) ? "Same code; the words around it differ." : "Same words; the spaces differ." : "Same answers.";
		return `${said("left")} \u00b7 ${said("right")}`;
	}

	function buildSide(name) {
		const part = {};
		part.label = el("span", { class: "ll-badge" });
		part.who = el("span", { class: "ll-who" });
		part.body = el("div", { class: "ll-body" });
		part.draft = el("pre", {});
		part.draftWords = el("summary", {});
		part.thinking = el("details", { class: "ll-thinking", hidden: true }, part.draftWords, part.draft);
		part.diff = el("div", { class: "ll-diff" });
		part.lens = el("div", { class: "ll-lens-place" });
		part.sure = lens.buildSure();
		part.hint = el("p", { class: "ll-hint" });
		part.facts = el("span", { class: "ll-facts" });
		part.sign = el("span", { class: "ll-sign", "aria-hidden": "true" });
		part.ending = el("span", { class: "ll-ending" });
		part.badges = lens.buildBadges();
		part.name = name;
		part.text = part.code = "";
		part.copyText = lens.copyButton("Copy answer", () => part.text);
		part.copyCode = lens.copyButton("Copy code", () => part.code);
		const copies = el("span", { class: "ll-copies" }, part.copyText, part.copyCode);
		part.root = el(
			"article",
			{ class: "ll-side" },
			el("header", { class: "ll-label" }, part.label, part.who, copies),
			el("div", { class: "ll-answer" }, part.thinking, part.hint, part.body, part.sure.root, part.diff, part.lens),
			el(
				"footer",
				{ class: "ll-foot" },
				el("span", { class: "ll-measures" }, part.facts, el("span", { class: "ll-end" }, part.sign, part.ending)),
				part.badges.bar,
				part.badges.panel
			)
		);
		return part;
	}

	function updateSide(part, row, place, who, waiting) {
		const answer = row.sides[place];
		const side = row.names ? row.names[place] : HIDDEN[place];
		const label = lens.nameAt(row, place);
		part.root.dataset.side = side;
		part.root.setAttribute("aria-label", `${label} answer to ${part.name}`);
		setText(part.label, label);
		const words = who[side] || "";
		setText(part.who, row.titles && words.includes(" \u00b7 ") ? words.slice(words.indexOf(" \u00b7 ") + 3) : words);
		const nothing = !answer.thinking ? "No text: the model ended at once." : answer.thinking.over ? "Nothing was said after the thinking." : "The thinking did not come to an end, so nothing was said: raise the token cap.";
		const shown = answer.state === "waiting" ? waiting : answer.text ? "" : answer.state === "streaming" ? "" : nothing;
		part.thinking.hidden = !answer.thinking;
		if (answer.thinking) {
			setText(part.draft, answer.thinking.text);
			const going = answer.state === "streaming" && !answer.thinking.over;
			setText(part.draftWords, going ? "Thinking\u2026" : answer.thinking.over ? "Thinking" : "Thinking, not finished");
		}
		setText(part.hint, shown);
		part.root.dataset.state = answer.state;
		if (part.text !== answer.text || !part.drawn) {
			lens.renderMarkdown(part.body, answer.text);
			part.drawn = true;
		}
		if (answer.confidence) part.sure.update(answer.confidence, `the ${label} model`);
		part.text = answer.text;
		part.code = answer.code;
		part.copyText.disabled = !answer.text;
		part.copyCode.disabled = !answer.code;
		setText(part.facts, answer.facts.join(" \u00b7 "));
		setText(part.sign, SIGNS[answer.state] || "");
		setText(part.ending, answer.ending || (answer.state === "streaming" ? "writing\u2026" : ""));
		part.badges.update(answer.verdict, !row.names);
	}

	/** A row for question number `index`, or for a later turn of one; `update(row, view, waiting)` brings it up to date. */
	lens.buildRow = function (row, index, single, voting) {
		const name = row.title || "your question";
		const tokensButton = el("button", { type: "button", class: "ll-toggle ll-tokens-toggle", "aria-pressed": "false" }, "Tokens");
		const sureButton = el("button", { type: "button", class: "ll-toggle ll-sure-toggle", "aria-pressed": "false", hidden: true }, "Confidence");
		const under = el("div", { class: "ll-under" });
		const diffButton = el("button", { type: "button", class: "ll-toggle", "aria-pressed": "false" }, "Diff");
		const summary = el("span", { class: "ll-summary" });
		const parts = {};
		for (const place of Object.keys(row.sides)) parts[place] = buildSide(name);
		const sides = el("div", { class: "ll-sides", tabindex: "0", role: "group", "aria-label": `Answers to ${name}, scrolling together` });
		sides.append(...Object.values(parts).map((part) => part.root));
		const votes = lens.buildVotes(
			name,
			voting.reasons,
			(choice, reasons, comment) => voting.send(row.pair, choice, reasons, comment),
			() => voting.undo(row.pair)
		);
		const whole = lens.buildWhole(
			name,
			voting.reasons,
			(choice, reasons, comment) => voting.send(lens.WHOLE + row.pair, choice, reasons, comment),
			() => voting.undo(lens.WHOLE + row.pair)
		);
		const further = lens.buildFurther(name, (question, basis) => voting.further(row.pair, question, basis));
		const follows = el("small", { class: "ll-follows" });
		const change = lens.buildChange();
		const reference = lens.buildReference(row);
		const root = el(
			"section",
			{ class: "ll-row", tabindex: "-1", "data-single": single || null, "data-later": lens.turnOf(row) > 1 || null, "data-view": "answers" },
			el(
				"header",
				{ class: "ll-question" },
				lens.turnOf(row) > 1 ? el("span", { class: "ll-number" }, `turn ${row.turn}`) : single ? null : el("span", { class: "ll-number" }, String(index + 1)),
				el("div", {}, row.title ? el("h3", {}, row.title) : null, el("p", { class: row.title ? "" : "ll-own" }, row.question), follows),
				el("div", { class: "ll-actions" }, change.root, summary, sureButton, tokensButton, diffButton)
			),
			reference?.root,
			sides,
			el("div", { class: "ll-sure-legend" }, lens.sureLegend()),
			under,
			votes.root,
			whole.root,
			further.root
		);
		let drawnDiff = "";
		let current = row;
		let readAs = ""; // of which texts the tokens are shown or on their way

		function turnTo(kind) {
			root.dataset.view = kind;
			diffButton.setAttribute("aria-pressed", String(kind === "diff"));
			tokensButton.setAttribute("aria-pressed", String(kind === "tokens"));
			sureButton.setAttribute("aria-pressed", String(kind === "sure"));
		}
		sureButton.addEventListener("click", () => {
			setText(summary, "");
			turnTo(root.dataset.view === "sure" ? "answers" : "sure");
		});

		async function showTokens() {
			if (root.dataset.view === "tokens") return showDiff(false);
			turnTo("tokens");
			const texts = JSON.stringify([current.pair, ...Object.values(current.sides).map((side) => side.text)]);
			if (readAs === texts) return;
			readAs = texts;
			setText(summary, "both models read\u2026");
			const found = await lens.asked(voting.tokens, { pair: current.pair });
			setText(summary, found.error || found.notes.join(" "));
			if (found.error) {
				readAs = "";
				return turnTo("answers");
			}
			const panel = lens.buildTokenPanel((side, view, place, id, text) => lens.asked(voting.whatIf, { pair: current.pair, side, ...lens.beginning(view, place, id, text) }));
			for (const [place, part] of Object.entries(parts)) {
				const view = found.sides[place];
				part.lens.replaceChildren(view ? lens.buildTokens(view, `the ${part.label.textContent} answer`, found.parting, panel) : el("p", { class: "ll-hint" }, "No text to read."));
			}
			const another = el("button", { type: "button", class: "ll-quiet" }, "Read another text behind this question");
			another.addEventListener("click", () => lens.readAnother(current.question));
			const dials = el("button", { type: "button", class: "ll-quiet" }, "Compare strengths");
			dials.addEventListener("click", () => lens.compareStrengths(current.question));
			const more = el("div", { class: "ll-lens-more" }, another, dials);
			if (found.reference) more.append(el("h4", {}, "Reference"), lens.buildTokens(found.reference, "the reference", found.reference.parting, panel));
			under.replaceChildren(lens.buildLegend(), panel.root, more);
		}
		tokensButton.addEventListener("click", showTokens);

		function showDiff(on) {
			turnTo(on ? "diff" : "answers");
			setText(summary, on ? diffSummary(current) : current.differs === false ? "same answer" : "");
			const key = `${current.differs} ${Boolean(current.names)}`;
			if (!on || drawnDiff === key) return;
			for (const [place, part] of Object.entries(parts)) drawDiff(part.diff, current, place);
			drawnDiff = key;
		}
		diffButton.addEventListener("click", () => {
			if (single && sides.offsetHeight) sides.style.height = `${sides.getBoundingClientRect().height}px`; // the diff moves nothing
			showDiff(root.dataset.view !== "diff");
		});
		diffButton.hidden = Object.keys(row.sides).length < 2;

		function update(next, view, waiting) {
			current = next;
			const who = { base: view.model, tuned: view.adapter };
			for (const [place, part] of Object.entries(parts)) updateSide(part, next, place, who, waiting);
			root.dataset.differs = String(next.differs);
			root.dataset.left = next.names ? next.names.left : "hidden";
			tokensButton.hidden = !next.names || !next.pair; // who wrote what is hidden until the vote
			tokensButton.disabled = view.running;
			const sure = Object.values(next.sides).some((side) => side.confidence);
			if (sure && sureButton.hidden) turnTo("sure"); // it was asked for, so it is shown
			sureButton.hidden = !sure;
			if (root.dataset.view === "answers" || root.dataset.view === "diff") showDiff(root.dataset.view === "diff");
			votes.update(next);
			const turns = lens.turnsOf(view, next);
			const last = turns.at(-1) === next;
			whole.update(next, turns, last, view.running);
			further.update(next, last, view.running);
			setText(follows, next.follows || "");
			change.update(next);
			reference?.update(next);
		}
		return { root, update, votes, pair: row.pair };
	};
})(window.LoraLens);
