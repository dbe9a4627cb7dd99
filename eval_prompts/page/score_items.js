// The questions of a scoring: four lists with regressions first, a filter, and both answers of one beside each other.
(function (lens) {
	const { el, setText } = lens;
	const LISTS = [
		["", "all"],
		["lost", "lost"],
		["gained", "gained"],
		["both", "both pass"],
		["neither", "neither"],
		["unknown", "not compared"],
	];
	const SIGNS = { lost: "\u2193", gained: "\u2191", both: "=", neither: "=", unknown: "\u00b7" };

	function diffColumn(pairs, place, sign) {
		const lines = pairs.map((pair) => {
			const line = pair[place];
			if (!line) return el("div", { class: "ll-diff-line", "data-mark": "gap" });
			const text = el("span", { class: "ll-diff-text" });
			for (const [piece, changed] of line.pieces) text.append(changed ? el("mark", {}, piece) : piece);
			return el("div", { class: "ll-diff-line", "data-mark": pair.kind === "same" ? " " : sign }, el("span", { class: "ll-diff-number" }, String(line.number)), text);
		});
		return el("div", { class: "ll-diff" }, ...lines);
	}

	/** Both answers to one question; `again(sample)` fetches another sample. */
	function drawPair(box, pair, sample, again) {
		const sides = el("div", { class: "ll-score-sides" });
		const draw = (diff) => {
			const parts = Object.entries(pair.sides).map(([side, answer]) => {
				const body = el("div", { class: "ll-body" });
				const badges = lens.buildBadges();
				if (answer.text) lens.renderMarkdown(body, answer.text);
				else body.append(el("p", { class: "ll-hint" }, answer.facts ? "No text: the model ended at once." : pair.unasked || "No answer yet."));
				badges.update(answer.verdict || null, false);
				const shown = diff ? diffColumn(pair.diff, side === "base" ? "left" : "right", side === "base" ? "\u2212" : "+") : body;
				return el(
					"article",
					{ "data-side": side, "aria-label": `${pair.titles[side]} answer` },
					el("h4", {}, pair.titles[side]),
					shown,
					el("footer", {}, el("span", { class: "ll-note" }, (answer.facts || []).join(" \u00b7 ")), badges.bar, badges.panel)
				);
			});
			sides.replaceChildren(...parts);
		};
		const toggle = el("button", { type: "button", class: "ll-toggle", "aria-pressed": "false" }, "Diff");
		toggle.hidden = !pair.diff.length;
		toggle.addEventListener("click", () => {
			const on = toggle.getAttribute("aria-pressed") !== "true";
			toggle.setAttribute("aria-pressed", String(on));
			draw(on);
		});
		const which = el("select", { "aria-label": "Sample" }, ...Array.from({ length: pair.samples }, (_, at) => el("option", { value: at, selected: at === sample }, `sample ${at + 1} of ${pair.samples}`)));
		which.hidden = pair.samples < 2;
		which.addEventListener("change", () => again(Number(which.value)));
		const references = pair.references.length ? el("details", { class: "ll-score-reference", open: pair.references.join("").length < 300 }, el("summary", {}, "Reference"), ...pair.references.map((text) => el("pre", { tabindex: "0" }, text))) : null;
		draw(false);
		box.replaceChildren(
			el("div", { class: "ll-score-asked" }, el("p", {}, pair.question), el("span", { class: "ll-score-tools" }, which, toggle)),
			...[pair.input && pair.input !== pair.question ? el("pre", { tabindex: "0" }, pair.input) : null, references].filter(Boolean),
			sides
		);
	}

	/** The lists; `server` answers `pair`, `changed()` is called when another list, task, tag, text or page is wanted. */
	lens.buildScoreItems = function (server, changed) {
		const asked = { list: "", task: "", tag: "", search: "", page: 0 };
		let scoring = "";
		let opened = "";
		let drawn = "";
		let several = false;
		const lists = LISTS.map(([value, words]) => {
			const count = el("b", {});
			const button = el("button", { type: "button", class: "ll-score-list", "data-list": value || "all", "aria-pressed": String(!value) }, words, " ", count);
			button.addEventListener("click", () => choose({ list: value }));
			return { value, button, count };
		});
		const task = el("select", { "aria-label": "Task" });
		const tag = el("select", { "aria-label": "Tag" });
		const search = el("input", { type: "search", placeholder: "Search questions and answers", "aria-label": "Search questions and answers" });
		const rows = el("div", { class: "ll-score-rows" });
		const before = el("button", { type: "button", class: "ll-toggle" }, "Earlier");
		const next = el("button", { type: "button", class: "ll-toggle" }, "More");
		const place = el("span", { class: "ll-note", role: "status" });
		const root = el(
			"section",
			{ class: "ll-panel" },
			el("div", { class: "ll-score-filter" }, el("div", { class: "ll-score-lists", role: "group", "aria-label": "Which questions" }, ...lists.map((each) => each.button)), task, tag, search),
			rows,
			el("div", { class: "ll-score-pages" }, before, place, next)
		);
		let timer = 0;

		function choose(wish) {
			Object.assign(asked, { page: 0 }, wish);
			for (const each of lists) each.button.setAttribute("aria-pressed", String(each.value === asked.list));
			changed();
		}
		task.addEventListener("change", () => choose({ task: task.value }));
		tag.addEventListener("change", () => choose({ tag: tag.value }));
		search.addEventListener("input", () => {
			clearTimeout(timer);
			timer = setTimeout(() => choose({ search: search.value }), 250);
		});
		before.addEventListener("click", () => choose({ page: asked.page - 1 }));
		next.addEventListener("click", () => choose({ page: asked.page + 1 }));

		async function open(box, row, sample) {
			const pair = await server.pair({ scoring, task: row.task, number: row.number, sample }).catch(() => null);
			if (!pair || pair.error || pair.problem) return void box.replaceChildren(el("p", { class: "ll-note" }, pair?.error || pair?.problem || lens.whyNot()));
			drawPair(box, pair, sample, (other) => open(box, row, other));
		}

		function drawRow(row) {
			const key = `${row.task}\n${row.number}`;
			const box = el("div", { class: "ll-score-pair", hidden: true });
			const marks = Object.entries(row.marks).map(([side, mark]) => el("span", { class: "ll-score-mark", "data-side": side, "data-mark": mark }, mark));
			const button = el(
				"button",
				{ type: "button", class: "ll-score-row", "aria-expanded": "false", "data-outcome": row.outcome },
				el("span", { class: "ll-score-outcome" }, el("span", { "aria-hidden": "true" }, SIGNS[row.outcome]), ` ${LISTS.find(([value]) => value === row.outcome)[1]}`),
				el("span", { class: "ll-score-id" }, several ? `${row.task} ${row.id}` : row.id),
				el("span", { class: "ll-score-question" }, row.question),
				el("span", { class: "ll-score-tags" }, ...row.tags.map((each) => el("small", {}, each))),
				el("span", { class: "ll-score-marks" }, ...marks)
			);
			const show = (on) => {
				button.setAttribute("aria-expanded", String(on));
				box.hidden = !on;
				if (on) open(box, row, 0);
			};
			button.addEventListener("click", () => {
				const on = box.hidden;
				opened = on ? key : "";
				show(on);
			});
			if (opened === key) show(true);
			return [button, box];
		}

		function options(select, first, values) {
			const key = JSON.stringify(values);
			if (select.dataset.key === key) return;
			select.dataset.key = key;
			const kept = select.value;
			select.replaceChildren(el("option", { value: "" }, first), ...values.map(([value, words]) => el("option", { value }, words)));
			select.value = values.some(([value]) => value === kept) ? kept : "";
		}

		function update(view) {
			if (view.scoring !== scoring) {
				scoring = view.scoring;
				opened = "";
			}
			several = view.tasks.length > 1;
			const counted = view.tasks.filter((each) => !asked.task || each.name === asked.task);
			for (const { value, button, count } of lists) {
				const number = counted.reduce((sum, each) => sum + (value ? each.counts[value] : Object.values(each.counts).reduce((a, b) => a + b, 0)), 0);
				setText(count, number.toLocaleString("en"));
				button.hidden = Boolean(value) && Object.keys(view.tasks[0]?.sides || {}).length < 2;
			}
			options(task, "all tasks", several ? view.tasks.map((each) => [each.name, each.title]) : []);
			options(tag, "all tags", view.tags.map((each) => [each, each]));
			task.hidden = !several;
			tag.hidden = !view.tags.length;
			const key = JSON.stringify([scoring, view.items]);
			if (key === drawn) return;
			drawn = key;
			const items = view.items;
			const none = asked.search || asked.tag || asked.list ? "No question is in this list." : "No question has been asked yet.";
			rows.replaceChildren(...(items.rows.length ? items.rows.flatMap(drawRow) : [el("p", { class: "ll-note" }, none)]));
			before.hidden = items.page === 0;
			next.hidden = items.page + 1 >= items.pages;
			setText(place, items.pages > 1 ? `page ${items.page + 1} of ${items.pages} \u00b7 ${items.total.toLocaleString("en")} questions` : "");
		}
		return { root, asked, update };
	};
})(window.LoraLens);
