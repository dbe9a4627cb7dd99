// The Results tab: what people said, with how sure that is, what the machine found, the comparisons, and the exports.
(function (lens) {
	const { el, setText } = lens;
	const outcomes = (sides) => [
		["base", `${sides.base} is better`],
		["tie", "tie"],
		["both_bad", "both are bad"],
		["tuned", `${sides.tuned} is better`],
	];
	const percent = (share) => `${Math.round(share * 100)}%`;
	const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

	function countsBar(counts, sides) {
		const parts = outcomes(sides).filter(([outcome]) => counts[outcome]).map(([outcome, words]) => {
			const part = el("span", { "data-outcome": outcome, title: `${words}: ${counts[outcome]}` }, String(counts[outcome]));
			part.style.flexGrow = counts[outcome];
			return part;
		});
		const said = outcomes(sides).map(([outcome, words]) => `${words} ${counts[outcome]}`).join(", ");
		return el("div", { class: "ll-counts", role: "img", "aria-label": said }, ...parts);
	}

	/** The share of decided votes that the tuned side won, with its 95% confidence sequence, on a scale from 0 to 100%. */
	function interval(group) {
		const track = el("div", { class: "ll-interval", role: "img", "aria-label": group.words });
		if (group.rate === null) return track;
		const bar = el("span", { class: "ll-range" });
		bar.style.left = percent(group.low);
		bar.style.width = percent(group.high - group.low);
		const dot = el("span", { class: "ll-rate" });
		dot.style.left = percent(group.rate);
		track.append(bar, dot);
		return track;
	}

	function votesCard(view) {
		const rows = view.groups.flatMap((group) => [
			el("strong", {}, group.name, el("small", {}, count(group.counts.total, "vote"))),
			group.counts.total ? countsBar(group.counts, view.sides) : el("span", { class: "ll-none" }, "none yet"),
			interval(group),
			el("p", {}, group.words),
		]);
		const legend = outcomes(view.sides).map(([outcome, words]) => el("span", { "data-outcome": outcome }, el("i", {}), words));
		return card(
			"Which side people prefer",
			el("div", { class: "ll-legend" }, ...legend),
			el(
				"div",
				{ class: "ll-groups" },
				el("span", {}),
				el("small", {}, "votes"),
				el("small", { class: "ll-scale" }, el("span", {}, "0%"), el("span", {}, `${view.sides.tuned} wins`), el("span", {}, "100%")),
				el("span", {}),
				...rows
			),
			...view.notes.map((note) => el("p", { class: "ll-note" }, note))
		);
	}

	const card = (title, ...children) => el("section", { class: "ll-panel" }, el("h3", {}, title), ...children);

	/** Before the first vote: what will stand here, and how to get there. */
	function comingCard() {
		const things = [
			["Which side people prefer", "the share of votes for each side, with how sure that is; above all of blind votes, given by people who do not know whose answer they choose"],
			["By question", "how often each side does its task and ends by itself, and how long its answers are"],
			["Comparisons", "each question with both answers and what was voted on them"],
		];
		return card(
			"What will stand here",
			el("dl", { class: "ll-coming" }, ...things.flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)])),
			el("p", { class: "ll-note" }, "Ask on the Compare tab, then say below each pair which answer is better. Where one side wins nine of ten, about 12 blind votes tell; at eight of ten it takes about 20, at seven of ten about 50.")
		);
	}

	function cell(text, attributes) {
		return el("td", attributes || {}, text);
	}

	function probesCard(view) {
		const sides = ["base", "tuned"];
		const head = el(
			"thead",
			{},
			el("tr", {}, el("th", { rowspan: "2", scope: "col" }, "Question"), ...["does the task", "ended by itself", "tokens, median"].map((name) => el("th", { colspan: "2", scope: "colgroup" }, name)), el("th", { rowspan: "2", scope: "col" }, "votes")),
			el("tr", {}, ...[0, 1, 2].flatMap(() => sides.map((side) => el("th", { scope: "col", "data-side": side }, view.sides[side]))))
		);
		const body = view.probes.map((probe) =>
			el(
				"tr",
				{},
				el("th", { scope: "row" }, probe.title),
				...["tasks", "ended", "tokens"].flatMap((key) => sides.map((side) => cell(probe[side][key] || "\u2013", { "data-side": side }))),
				el("td", { class: "ll-cell-votes" }, probe.counts.total ? countsBar(probe.counts, view.sides) : "\u2013")
			)
		);
		return card(`By question, ${view.sides.base} against ${view.sides.tuned}`, el("div", { class: "ll-scroll", tabindex: "0", role: "region", "aria-label": "Figures by question" }, el("table", {}, head, el("tbody", {}, ...body))));
	}

	function strengthsCard(view) {
		const rows = view.strengths.flatMap((each) => [el("strong", {}, each.name), interval(each), el("p", {}, each.words)]);
		return card(
			"Adapters against each other",
			el("div", { class: "ll-strengths" }, ...rows),
			el("p", { class: "ll-note" }, `Bradley-Terry strengths from blind votes, as the chance of being preferred to ${view.strengths[0].reference}; adapters with few or one-sided blind votes are left out.`)
		);
	}

	function historyCard(view) {
		const items = view.history.map((item) =>
			el(
				"details",
				{ class: "ll-past" },
				el(
					"summary",
					{},
					el("span", { class: "ll-past-question" }, item.question),
					el("span", { class: "ll-past-outcome", "data-outcome": item.outcome || null }, item.outcome_words),
					el("small", {}, item.when)
				),
				el("p", { class: "ll-note" }, item.about),
				el(
					"div",
					{ class: "ll-past-sides" },
					...["base", "tuned"].map((side) => el("article", { "data-side": side }, el("h4", {}, `${item[side].label} \u00b7 ${item[side].words}`), el("pre", { tabindex: "0" }, item[side].text)))
				)
			)
		);
		const more = view.more ? el("p", { class: "ll-note" }, view.more) : null;
		return card(view.history_title, ...items, more);
	}

	function download(name, type, encoded) {
		const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
		const link = el("a", { download: name, href: URL.createObjectURL(new Blob([bytes], { type })) });
		document.body.append(link);
		link.click();
		link.remove();
		setTimeout(() => URL.revokeObjectURL(link.href), 10000);
	}

	/** Builds the Results tab inside `root`; it is fetched anew whenever it comes into view and after each vote. */
	lens.mountResults = function (root, server) {
		let adapter = "";
		let drawn = "";
		let asks = 0;
		const problem = el("div", { class: "ll-notice", role: "alert", hidden: true });
		const choose = el("select", { "aria-label": "Adapter" });
		const head = el("div", { class: "ll-results-head" }, el("label", {}, "Adapter ", choose));
		const verdict = el("p", { class: "ll-headline", role: "status" });
		const body = el("div", { class: "ll-panels" });
		const said = el("span", { class: "ll-note", role: "status" });
		const exports = el("div", { class: "ll-exports", hidden: true }, el("span", {}, "Take the votes with you:"));
		for (const [format, name] of [["csv", "CSV"], ["jsonl", "JSONL"], ["parquet", "Parquet"]]) {
			const button = el("button", { type: "button", class: "ll-toggle", "data-format": format }, name);
			button.addEventListener("click", () => save(format, "votes"));
			exports.append(button);
		}
		const preferences = el("button", { type: "button", class: "ll-toggle", title: "For preference trainers: votes that prefer a side, as prompt, chosen and rejected" }, "Preference pairs");
		preferences.addEventListener("click", () => save("jsonl", "pairs"));
		exports.append(preferences, said);
		const learning = lens.votesLesson(server, () => adapter);
		root.classList.add("ll-results");
		root.replaceChildren(problem, head, verdict, body, exports, learning.panel);

		async function save(format, what) {
			setText(said, "preparing\u2026");
			try {
				const file = await server.export_votes({ format, what });
				setText(said, file.error || [file.name, count(file.rows, "row"), file.left_out].filter(Boolean).join(" \u00b7 "));
				if (!file.error) download(file.name, file.type, file.content);
			} catch {
				setText(said, lens.whyNot());
			}
		}

		function draw(view) {
			const key = JSON.stringify(view);
			if (key === drawn) return;
			drawn = key;
			problem.hidden = !view.problem;
			setText(problem, view.problem);
			problem.dataset.level = view.waits ? "info" : "error";
			head.hidden = verdict.hidden = body.hidden = Boolean(view.problem);
			exports.hidden = !view.exportable;
			learning.show(view.exportable && !view.problem);
			if (view.problem) return;
			head.hidden = view.adapters.length < 1;
			choose.replaceChildren(...view.adapters.map((each) => el("option", { value: each.name, selected: each.name === view.adapter }, `${each.name} (${count(each.votes, "vote")})`)));
			setText(verdict, view.headline);
			const cards = view.empty ? [comingCard()] : [votesCard(view), probesCard(view), ...(view.strengths.length ? [strengthsCard(view)] : []), historyCard(view)];
			const sources = view.card ? el("dl", { class: "ll-score-sources" }, ...view.card.sources.flatMap(([name, words]) => [el("dt", {}, name), el("dd", {}, words)])) : null;
			const scored = view.card ? [lens.buildCard(view.card, [sources])] : [];
			body.replaceChildren(...scored, ...cards);
		}

		async function refresh() {
			const asked = ++asks;
			let view = null;
			try {
				view = await server.results({ adapter, visitor: lens.visitor() });
			} catch {
				// No connection: the header says so, and the next look at this tab asks again.
			}
			if (view && asked === asks) draw(view); // a slow answer to an earlier choice is out of date
		}
		choose.addEventListener("change", () => {
			adapter = choose.value;
			refresh();
		});
		lens.votesChanged = () => root.checkVisibility() && refresh();
		new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && refresh()).observe(root);
		document.addEventListener("visibilitychange", () => !document.hidden && lens.votesChanged());
	};
})(window.LoraLens);
