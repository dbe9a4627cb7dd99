// The scorers of a new task with their options, and a try-out: what they would say of one answer.
(function (lens) {
	const { el, setText } = lens;
	const SIGNS = { passes: "\u2713", fails: "\u2717", measured: "\u25cb", "not run": "\u25cb" };
	const STATES = { passes: "good", fails: "bad" };

	/** The part of the form; `changed()` is called for another choice, `asked()` gives the whole form. */
	lens.buildTaskScorers = function (kinds, server, changed, asked) {
		const named = Object.fromEntries(kinds.map((kind) => [kind.name, kind]));
		const list = el("div", { class: "ll-task-chosen" });
		const wrong = el("small", { class: "ll-wrong", role: "alert" });
		const add = el("select", { id: "ll-task-add-scorer", "data-own": "yes" }, el("option", { value: "" }, "Add a scorer\u2026"), ...kinds.map((kind) => el("option", { value: kind.name, title: kind.about }, `${kind.name}${kind.reference ? " (needs a reference)" : ""}`)));
		const answer = el("textarea", { id: "ll-task-answer", rows: "3", spellcheck: "false", "data-own": "yes", placeholder: "An answer to the question shown above" });
		const said = el("div", { class: "ll-task-said", role: "status" });
		const judge = el("button", { type: "button", onclick: tryOut }, "Judge it");
		const root = el(
			"section",
			{ class: "ll-task-scorers" },
			el("label", { for: add.id }, "Scorers"),
			list,
			add,
			wrong,
			el("div", { class: "ll-field" }, el("label", { for: answer.id }, "Try them on an answer"), answer, el("div", { class: "ll-task-ways" }, judge), said)
		);
		let chosen = [];

		function optionField(scorer, option) {
			const wide = ["schema", "text", "pattern"].includes(option.name);
			const input = wide ? el("textarea", { rows: "1", spellcheck: "false" }) : el("input", { type: "text", autocomplete: "off", spellcheck: "false" });
			input.value = scorer.options[option.name] ?? "";
			input.placeholder = option.usual || "none";
			input.addEventListener("input", () => (scorer.options[option.name] = input.value));
			return el("label", {}, el("span", {}, option.name), input);
		}

		function draw() {
			const cards = chosen.map((scorer) => {
				const kind = named[scorer.name] || { about: "", options: [] };
				const remove = () => {
					chosen = chosen.filter((other) => other !== scorer);
					draw();
					changed();
				};
				return el("div", { class: "ll-task-scorer" }, el("header", {}, el("b", {}, scorer.name), el("button", { type: "button", class: "ll-quiet", "aria-label": `Remove ${scorer.name}`, onclick: remove }, "Remove")), el("p", {}, kind.about), el("div", { class: "ll-task-two" }, ...kind.options.map((option) => optionField(scorer, option))));
			});
			list.replaceChildren(...(cards.length ? cards : [el("p", { class: "ll-note" }, "None: answers get no verdict.")]));
		}

		add.addEventListener("change", () => {
			if (!add.value) return;
			chosen.push({ name: add.value, options: {} });
			add.value = "";
			draw();
			changed();
		});

		async function tryOut() {
			const form = asked();
			said.replaceChildren(el("p", {}, "judging\u2026"));
			const told = (await server.score({ draft: form, number: form.number, answer: answer.value })) || { error: lens.whyNot() };
			if (told.error) return said.replaceChildren(el("p", { class: "ll-wrong" }, told.error));
			const lines = told.scores.map((each) => el("p", { "data-state": STATES[each.verdict] || "neutral" }, el("b", {}, `${SIGNS[each.verdict] || ""} ${each.scorer}${each.side ? `, ${each.side} side` : ""}: ${each.verdict}`), each.score === null ? "" : ` (${Number(each.score.toFixed(2))})`, each.reason ? ` \u2013 ${each.reason}` : ""));
			said.replaceChildren(...(lines.length ? lines : [el("p", {}, "No scorer says anything of it: add one that does.")]));
		}

		draw();
		return {
			root,
			tell: (problem) => setText(wrong, problem || ""),
			get: () => chosen.map((scorer) => ({ name: scorer.name, options: { ...scorer.options } })),
			set(scorers) {
				chosen = (scorers || []).map((scorer) => ({ name: scorer.name, options: { ...scorer.options } }));
				said.replaceChildren();
				answer.value = "";
				draw();
			},
		};
	};
})(window.LoraLens);
