// A judge model beside a finished scoring: who it is, how far it is, what it says and what that is worth.
(function (lens) {
	const { el, setText } = lens;

	/** The panel; `changed()` is called once a judge has begun or is to end. */
	lens.buildScoreJudge = function (server, changed) {
		let scoring = "";
		const who = el("select", { "aria-label": "Who judges" }, el("option", { value: "endpoint" }, "an OpenAI-compatible endpoint"), el("option", { value: "local" }, "the base model that is loaded"));
		const url = el("input", { type: "url", placeholder: "https://host/v1", autocomplete: "off", spellcheck: "false" });
		const model = el("input", { type: "text", placeholder: "its name there", autocomplete: "off", spellcheck: "false" });
		const key = el("input", { type: "password", placeholder: "LORA_LENS_JUDGE_KEY of the server", autocomplete: "off" });
		const rubric = el("textarea", { rows: "2", placeholder: "The better answer is correct, does what was asked, and says nothing that was not asked for." });
		const places = [el("label", {}, "Address", url), el("label", {}, "Model", model), el("label", {}, "Key (kept nowhere)", key)];
		const start = lens.button("Have it judge", "", () => act("judge", { scoring, ...(who.value === "endpoint" ? { url: url.value, model: model.value, key: key.value } : {}), rubric: rubric.value }));
		const stop = lens.button("Stop the judge", "", () => act("stop_judge", {}));
		const problem = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const words = el("span", { class: "ll-note", role: "status" });
		const lines = el("ul", {});
		const form = el(
			"details",
			{ class: "ll-score-asks" },
			el("summary", {}, "Ask a judge model"),
			el("p", { class: "ll-note" }, "It compares both answers to each question in both orders; a verdict that flips with the order is a tie. It is shown beside the checks and people, never as the headline."),
			el("div", { class: "ll-score-fields" }, el("label", {}, "Judge", who), ...places, el("label", { class: "ll-score-wide" }, "What makes an answer the better one", rubric)),
			start
		);
		const root = el("section", { class: "ll-panel ll-score-judge", hidden: true, "aria-label": "Judge model" }, el("div", { class: "ll-panel-head" }, el("h3", {}, "Judge model"), words, stop), lines, problem, form);
		who.addEventListener("change", () => {
			for (const place of places) place.hidden = who.value !== "endpoint";
		});
		let refused = "";

		async function act(kind, sent) {
			start.disabled = true;
			const told = await server[kind](sent).catch(() => ({ error: lens.whyNot() }));
			start.disabled = false;
			refused = told?.error || "";
			if (!refused) key.value = "";
			show(refused);
			changed();
		}

		function show(text) {
			problem.hidden = !text;
			setText(problem, text || "");
		}

		function update(view, owner) {
			const judge = view?.judge;
			if (view && view.scoring !== scoring) refused = "";
			scoring = view?.scoring || "";
			root.hidden = !judge || !view.can.judge || !(owner || judge.lines.length);
			if (root.hidden) return;
			setText(words, judge.running ? `${judge.done.toLocaleString("en")} of ${judge.of.toLocaleString("en")} pairs` : judge.lines.length ? "" : "none was asked");
			const shown = JSON.stringify(judge.lines);
			if (lines.dataset.shown !== shown) {
				lines.dataset.shown = shown;
				lines.replaceChildren(...judge.lines.map((line) => el("li", {}, line)));
			}
			stop.hidden = !(owner && judge.running);
			form.hidden = !owner || judge.running;
			show(refused || (owner ? judge.problem : ""));
		}
		return { root, update };
	};
})(window.LoraLens);
