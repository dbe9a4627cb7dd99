// One question with its two answers, or with the diff of their code, in a frame whose height does not change.
(function (lens) {
	const { el, setText } = lens;
	const NAMES = { base: "Base", tuned: "Tuned" };
	const SIGNS = { ended: "\u25cf", capped: "\u26a0\ufe0e", cancelled: "\u25a0", failed: "\u2715" };

	function diffLine(line, mark) {
		const text = el("span", { class: "ll-diff-text" });
		for (const [piece, changed] of line.pieces) text.append(changed ? el("mark", {}, piece) : piece);
		return el("div", { class: "ll-diff-line", "data-mark": mark }, el("span", { class: "ll-diff-number" }, String(line.number)), text);
	}

	function drawDiff(container, row, side) {
		const has = row.diff.some((pair) => pair[side]);
		const lines = row.diff.map((pair) => {
			if (!pair[side]) return el("div", { class: "ll-diff-line", "data-mark": "gap" });
			return diffLine(pair[side], pair.kind === "same" ? " " : side === "base" ? "\u2212" : "+");
		});
		container.replaceChildren(...(has ? lines : [el("p", { class: "ll-hint" }, "No code in this answer.")]));
	}

	function diffSummary(row) {
		const lines = (count) => `${count} line${count === 1 ? "" : "s"}`;
		const only = (side) => row.diff.filter((pair) => pair.kind === "changed" || pair.kind === side).length;
		if (row.differs === null) return "The diff is drawn when both answers are complete.";
		if (!row.diff.length) return "Neither answer holds code.";
		if (!only("base") && !only("tuned")) return row.differs ? "Same code; the words around it differ." : "Same answers.";
		return `\u2212 ${lines(only("base"))} only in base \u00b7 + ${lines(only("tuned"))} only in tuned`;
	}

	function buildSide(side, name) {
		const part = {};
		part.who = el("span", { class: "ll-who" });
		part.body = el("div", { class: "ll-body" });
		part.diff = el("div", { class: "ll-diff" });
		part.hint = el("p", { class: "ll-hint" });
		part.facts = el("span", { class: "ll-facts" });
		part.sign = el("span", { class: "ll-sign", "aria-hidden": "true" });
		part.ending = el("span", { class: "ll-ending" });
		part.text = part.code = "";
		const copies = el(
			"span",
			{ class: "ll-copies" },
			(part.copyText = lens.copyButton("Copy answer", () => part.text)),
			(part.copyCode = lens.copyButton("Copy code", () => part.code))
		);
		part.root = el(
			"article",
			{ class: "ll-side", "data-side": side, "aria-label": `${NAMES[side]} answer to ${name}` },
			el("header", { class: "ll-label" }, el("span", { class: "ll-badge" }, NAMES[side]), part.who, copies),
			el("div", { class: "ll-answer" }, part.hint, part.body, part.diff),
			el("footer", { class: "ll-foot" }, part.facts, el("span", { class: "ll-end" }, part.sign, part.ending))
		);
		return part;
	}

	function updateSide(part, answer, who, waiting) {
		setText(part.who, who);
		const shown = answer.state === "waiting" ? waiting : answer.text ? "" : answer.state === "streaming" ? "" : "No text: the model ended at once.";
		setText(part.hint, shown);
		part.root.dataset.state = answer.state;
		if (part.text !== answer.text || !part.drawn) {
			lens.renderMarkdown(part.body, answer.text);
			part.drawn = true;
		}
		part.text = answer.text;
		part.code = answer.code;
		part.copyText.disabled = !answer.text;
		part.copyCode.disabled = !answer.code;
		setText(part.facts, answer.facts.join(" \u00b7 "));
		setText(part.sign, SIGNS[answer.state] || "");
		setText(part.ending, answer.ending || (answer.state === "streaming" ? "writing\u2026" : ""));
	}

	/** A row for question number `index`; `update(row, view, waiting)` brings it up to date. */
	lens.buildRow = function (row, index, single) {
		const name = row.title || "your question";
		const diffButton = el("button", { type: "button", class: "ll-toggle", "aria-pressed": "false" }, "Diff");
		const summary = el("span", { class: "ll-summary" });
		const parts = {};
		for (const side of Object.keys(row.sides)) parts[side] = buildSide(side, name);
		const sides = el("div", { class: "ll-sides", tabindex: "0", role: "group", "aria-label": `Answers to ${name}, scrolling together` });
		sides.append(...Object.values(parts).map((part) => part.root));
		const root = el(
			"section",
			{ class: "ll-row", "data-single": single || null, "data-view": "answers" },
			el(
				"header",
				{ class: "ll-question" },
				single ? null : el("span", { class: "ll-number" }, String(index + 1)),
				el("div", {}, row.title ? el("h3", {}, row.title) : null, el("p", { class: row.title ? "" : "ll-own" }, row.question)),
				el("div", { class: "ll-actions" }, summary, diffButton)
			),
			sides
		);
		let drawnDiff = null;
		let current = row;

		function showDiff(on) {
			diffButton.setAttribute("aria-pressed", String(on));
			root.dataset.view = on ? "diff" : "answers";
			setText(summary, on ? diffSummary(current) : current.differs === false ? "same answer" : "");
			if (!on) return;
			if (drawnDiff === current.differs) return;
			for (const [side, part] of Object.entries(parts)) drawDiff(part.diff, current, side);
			drawnDiff = current.differs;
		}
		diffButton.addEventListener("click", () => showDiff(root.dataset.view !== "diff"));
		diffButton.hidden = Object.keys(row.sides).length < 2;

		function update(next, view, waiting) {
			current = next;
			for (const [side, part] of Object.entries(parts)) {
				updateSide(part, next.sides[side], side === "base" ? view.model : view.adapter, waiting);
			}
			root.dataset.differs = String(next.differs);
			showDiff(root.dataset.view === "diff");
		}
		return { root, update };
	};
})(window.LoraLens);
