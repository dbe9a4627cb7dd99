// The tuning made visible: one question's answer before training and after any step, chosen with a slider.
(function (lens) {
	const { el, setText } = lens;
	const ending = (sample) => `${sample.tokens} tokens, ${sample.ended ? "ended by itself" : "hit the cap"}`;

	function side(name, accent) {
		const part = { title: el("b", {}, name), facts: el("small", {}), text: el("div", { class: "ll-body" }) };
		part.root = el("article", { "data-side": accent }, el("header", {}, part.title, part.facts), part.text);
		return part;
	}

	function show(part, sample) {
		setText(part.facts, sample ? ending(sample) : "");
		const answer = sample ? sample.answer : "";
		if (part.shown === answer) return;
		part.shown = answer;
		const blank = answer ? "Only blank lines." : "No text: the model ended at once.";
		lens.renderMarkdown(part.text, answer.trim() ? answer : blank);
	}

	/** A panel for sample answers; it stays on the newest one until the slider is moved back. */
	lens.buildSamples = function () {
		const question = el("p", { class: "ll-note" });
		const slider = el("input", { type: "range", min: "0", max: "0", step: "1", "aria-label": "Sample answer after step" });
		const at = el("output", {});
		const first = side("Before training", "base");
		const later = side("After", "tuned");
		const ticks = el("div", { class: "ll-ticks", "aria-hidden": "true" });
		const controls = el("div", { class: "ll-slider" }, el("div", {}, slider, ticks), at);
		const pairing = el("div", { class: "ll-pairing" }, first.root, later.root);
		const root = el("section", { class: "ll-panel ll-samples", hidden: true }, el("div", { class: "ll-panel-head" }, el("h3", {}, "How one answer changes")), question, controls, pairing);
		let samples = [];
		let following = true;

		function draw() {
			root.hidden = !samples.length;
			if (!samples.length) return;
			const index = Math.min(Number(slider.value), samples.length - 1);
			const sample = samples[index];
			setText(question, sample.question);
			setText(at, `step ${sample.step.toLocaleString("en")}`);
			slider.setAttribute("aria-valuetext", `step ${sample.step}`);
			setText(first.title, samples[0].step === 0 ? "Before training" : `After step ${samples[0].step}`);
			setText(later.title, sample.step === 0 ? "Before training" : `After step ${sample.step.toLocaleString("en")}`);
			show(first, samples[0]);
			show(later, sample);
			pairing.style.minHeight = `${pairing.offsetHeight}px`; // so that nothing below moves with the slider
			controls.hidden = later.root.hidden = samples.length < 2;
		}

		slider.addEventListener("input", () => {
			following = Number(slider.value) === samples.length - 1;
			draw();
		});

		/** Takes all samples there are, in the order of steps. */
		function update(next) {
			const chosen = samples[Number(slider.value)];
			samples = next;
			slider.max = String(Math.max(0, next.length - 1));
			const kept = chosen ? next.findIndex((sample) => sample.step === chosen.step) : -1;
			slider.value = String(following || kept < 0 ? next.length - 1 : kept);
			ticks.replaceChildren(...(next.length > 1 && next.length <= 12 ? next.map((sample) => el("span", {}, sample.step.toLocaleString("en"))) : []));
			draw();
		}
		function clear() {
			following = true;
			slider.value = "0";
			pairing.style.minHeight = "";
			update([]);
		}
		return { root, update, clear };
	};
})(window.LoraLens);
