// All runs: what they were, their losses in one chart, and which adapters stand against each other on the Compare tab.
(function (lens) {
	const { el, setText } = lens;
	const DASH = "\u2013";
	const STYLES = ["ll-line-1", "ll-line-2", "ll-line-3", "ll-line-4", "ll-line-5", "ll-line-6"];

	/** The history; `does` offers show, compare. `refresh(shown)` fetches the list anew. */
	lens.buildRunHistory = function (server, does) {
		const body = el("tbody", {});
		const heads = ["", "Run", "Differs in", "Data", "Steps", "Best validation loss", "Score", "Forgot", "Took", "State", ""].map((name) => el("th", { scope: "col" }, name || el("span", { class: "ll-offscreen" }, "choose")));
		const table = el("div", { class: "ll-scroll", tabindex: "0", role: "region", "aria-label": "All runs" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
		const by = el("p", { class: "ll-hint" });
		const overlay = lens.buildChart("Losses of the ticked runs", 220, "Tick runs to lay their losses over each other.");
		const tuned = el("select", { "aria-label": "Adapter on the tuned side" });
		const base = el("select", { "aria-label": "What it is compared against" });
		const now = el("span", { class: "ll-note" });
		const go = lens.button("Compare these two", "", () => does.compare(tuned.value, base.value));
		const against = el("div", { class: "ll-against" }, el("label", {}, "Put ", tuned), el("label", {}, " against ", base), go, now);
		const root = el("section", { class: "ll-panel ll-run-history", hidden: true }, el("div", { class: "ll-panel-head" }, el("h3", {}, "All runs"), el("span", { class: "ll-hint" }, "Tick runs to lay their losses over each other; click a name to look at it.")), table, by, overlay.root, el("div", { class: "ll-choose" }, el("h3", {}, "Which adapter is compared"), against));
		for (const select of [tuned, base]) select.addEventListener("change", () => (select.dataset.chosen = select.value));
		overlay.root.hidden = true;
		const ticked = new Map();
		let shown = "";
		let drawn = "";

		async function draw() {
			const names = [...ticked.keys()];
			overlay.root.hidden = !names.length;
			if (!names.length) return overlay.update([]);
			const answer = await server.curves({ runs: names });
			if (!answer?.curves) return;
			overlay.update(answer.curves.flatMap((curve) => {
				const style = ticked.get(curve.run);
				const lines = [{ name: curve.run, points: curve.loss, style: `${style} ll-thin` }];
				if (curve.validation.length) lines.push({ name: `${curve.run}, validation`, points: curve.validation, style, dots: true });
				return lines;
			}));
		}

		function tick(run, on) {
			if (on) {
				const free = STYLES.find((style) => ![...ticked.values()].includes(style));
				if (!free) return false;
				ticked.set(run, free);
			} else ticked.delete(run);
			draw();
			return true;
		}

		function row(run) {
			const box = el("input", { type: "checkbox", "aria-label": `Lay the losses of ${run.run} over the others` });
			box.checked = ticked.has(run.run);
			box.addEventListener("change", () => {
				if (!tick(run.run, box.checked)) box.checked = false;
				swatch.className = ticked.get(run.run) || "";
			});
			const swatch = el("i", { class: ticked.get(run.run) || "" });
			const open = el("button", { type: "button", class: "ll-link", "aria-current": run.run === shown ? "true" : null }, run.run);
			open.addEventListener("click", () => does.show(run.run));
			const best = run.chosen ? el("span", { class: "ll-best", title: `by ${run.best_by}` }, "best") : null;
			const compare = run.adapter ? lens.button("Compare", "ll-small", () => does.compare(run.run)) : null;
			const cell = (name, words, kind, note) => el("td", { class: kind, "data-name": name, "data-empty": words === DASH ? "true" : null }, words, note);
			const told = (words) => (words === "-" ? DASH : words || DASH);
			return el(
				"tr",
				{ "data-state": run.state },
				el("td", {}, el("label", { class: "ll-tick" }, box, swatch)),
				el("th", { scope: "row" }, open, best, el("small", {}, `${run.began} \u00b7 ${run.model}`), run.notes ? el("small", { class: "ll-run-note" }, run.notes) : null),
				cell("Differs in", told(run.differs), "ll-differs"),
				cell("Data", run.data, "ll-from"),
				cell("Steps", run.steps),
				cell("Best validation loss", told(run.best)),
				cell("Score", told(run.score), null, told(run.score) === DASH ? null : el("small", {}, run.task)),
				cell("Forgot", told(run.forgotten)),
				cell("Took", run.took),
				cell("State", el("span", { class: "ll-run-state", "data-state": run.state }, run.words)),
				el("td", {}, compare)
			);
		}

		function choices(select, first, list, chosen) {
			const kept = select.dataset.chosen === undefined ? chosen : select.dataset.chosen;
			select.replaceChildren(...first.map(([value, words]) => el("option", { value }, words)), ...list.map((run) => el("option", { value: run }, run)));
			if ([...select.options].some((option) => option.value === kept)) select.value = kept;
		}

		async function refresh(run) {
			if (run) shown = run;
			const answer = await server.runs({});
			if (!answer?.runs) return;
			const key = JSON.stringify([answer, shown]);
			if (key === drawn) return;
			drawn = key;
			const made = answer.runs.filter((each) => each.adapter).map((each) => each.run);
			for (const name of ticked.keys()) if (!answer.runs.some((each) => each.run === name)) ticked.delete(name);
			root.hidden = !answer.runs.length;
			body.replaceChildren(...answer.runs.map(row));
			const [best] = answer.runs.filter((each) => each.chosen);
			setText(by, best ? `best: by ${best.best_by}.` : "");
			choices(tuned, [["starter", "the starter adapter"]], made, made[0]);
			choices(base, [["", "the base model"], ["starter", "the starter adapter"]], made, "");
			setText(now, answer.comparing ? `Now: ${answer.comparing}` : "");
			if (ticked.size) draw();
		}
		return { root, refresh };
	};
})(window.LoraLens);
