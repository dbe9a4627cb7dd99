// Results: learn from the votes. Which votes, what they teach, and a run that goes on from the adapter they are about.
(function (lens) {
	const { el, setText } = lens;

	/** The panel with its `show(on)`, which looks anew at what the votes teach; `adapter()` names the one on show. */
	lens.votesLesson = function (server, adapter) {
		const which = el("select", { "aria-label": "Which votes" }, el("option", { value: "blind" }, "blind votes"), el("option", { value: "all" }, "all votes"));
		const words = el("p", { class: "ll-note", role: "status" });
		const warning = el("p", { class: "ll-note ll-warning", hidden: true });
		const start = el("button", { type: "button", class: "ll-toggle", disabled: true }, "Train on these votes");
		const said = el("span", { class: "ll-note", role: "status" });
		const panel = el(
			"section",
			{ class: "ll-panel", hidden: true },
			el("h3", {}, "Learn from the votes"),
			el("p", {}, "A run goes on from this adapter and learns to prefer what people preferred (direct preference optimisation). Afterwards the Train tab offers a blind round against the adapter before."),
			el("div", { class: "ll-learn" }, which, start, said),
			words,
			warning
		);

		async function look() {
			try {
				const found = await server.votes_lesson({ adapter: adapter(), votes: which.value });
				setText(words, found.error || found.words);
				warning.hidden = !found.warning;
				setText(warning, found.warning || "");
				start.disabled = !found.pairs;
			} catch {
				setText(words, lens.whyNot());
			}
		}

		start.addEventListener("click", async () => {
			start.disabled = true;
			setText(said, "starting\u2026");
			try {
				const begun = await server.train_on_votes({ adapter: adapter(), votes: which.value });
				setText(said, begun.error || `Run ${begun.run} has started: watch it on the Train tab.`);
			} catch {
				setText(said, lens.whyNot());
			}
			start.disabled = false;
		});
		which.addEventListener("change", look);

		function show(on) {
			panel.hidden = !on;
			if (on) look();
		}
		return { panel, show };
	};
})(window.LoraLens);
