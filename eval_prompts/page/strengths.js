// One question at several strengths of the adapter, side by side, while the answers are written.
(function (lens) {
	const { el, setText } = lens;
	const LOOK_MS = 300;
	let ask = null; // puts a question into the section and asks it; the Lens tab is built when it is first opened
	let waiting = null;

	/** Opens the Lens tab, and asks a question at all strengths. */
	lens.compareStrengths = function (question) {
		if (ask === null) waiting = question;
		document.querySelector("#ll-tab-lens-button")?.click();
		ask?.(question);
	};

	const called = (strength) => (strength === 0 ? "0, the base" : strength === 1 ? "1, as trained" : String(strength));

	function buildColumn(strength) {
		const body = el("div", { class: "ll-column-text" });
		const foot = el("footer", {}, "\u00a0");
		const root = el("article", { class: "ll-column", "aria-label": `The answer at strength ${called(strength)}` }, el("h4", {}, called(strength)), body, foot);
		function update(column) {
			setText(body, column.text || (column.state === "waiting" ? "waits\u2026" : column.state === "streaming" ? "" : "No text: the model ended at once."));
			const same = column.as_trained && column.strength !== 1 ? "word for word as trained" : "";
			setText(foot, [...column.facts.slice(0, 1), column.ending || (column.state === "streaming" ? "writing\u2026" : ""), same].filter(Boolean).join(" \u00b7 ") || "\u00a0");
		}
		return { root, update };
	}

	/** The section of the Lens tab. */
	lens.buildStrengths = function (server) {
		const question = el("textarea", { rows: "2", id: "ll-strengths-question", placeholder: "the question, put in the adapter's own prompt" });
		const dials = el("input", { type: "text", id: "ll-strengths-list", value: "0, 0.5, 1, 1.5" });
		const tokens = el("input", { type: "number", id: "ll-strengths-tokens", value: "200", min: "1", max: "4096" });
		const button = el("button", { type: "button", class: "ll-read" }, "Compare strengths");
		const stop = el("button", { type: "button", class: "ll-go", hidden: true }, "Stop");
		const said = el("p", { class: "ll-notice", role: "status", hidden: true });
		const board = el("div", { class: "ll-columns" });
		const asked = el("h3", { class: "ll-columns-asked", hidden: true });
		let current = "";
		let turn = 0; // how often something was asked

		function say(words, level) {
			said.hidden = !words;
			said.dataset.level = level;
			setText(said, words);
		}
		function over(words) {
			current = "";
			button.disabled = false;
			stop.hidden = true;
			say(words, "error");
		}
		const end = (id) => lens.asked(server.strengths_stop, { id });
		/** Asks what stands in the form; answers to another question that are still being written end. */
		async function go() {
			const mine = ++turn;
			const before = current;
			const wish = { question: question.value, strengths: dials.value, tokens: Number(tokens.value) };
			current = "";
			button.disabled = true;
			stop.hidden = true;
			board.replaceChildren();
			asked.hidden = false;
			setText(asked, wish.question);
			say("Asked at every strength at once\u2026", "info");
			if (before) await end(before);
			if (mine !== turn) return;
			const begun = await lens.asked(server.strengths_begin, wish);
			if (mine !== turn) return begun.id && end(begun.id); // another question was asked meanwhile
			if (begun.error) return over(begun.error);
			current = begun.id;
			stop.hidden = false;
			follow(begun.id, []);
		}
		async function follow(id, columns) {
			const view = await lens.asked(server.strengths_look, { id });
			if (current !== id) return;
			if (view.error) return over(view.error);
			if (!columns.length) {
				columns.push(...view.columns.map((column) => buildColumn(column.strength)));
				board.replaceChildren(...columns.map((column) => column.root));
			}
			for (const [at, column] of view.columns.entries()) columns[at].update(column);
			say([...(view.ahead ? [`${view.ahead} answers of others come first.`] : []), ...view.notes].join(" "), "info");
			if (view.running) return setTimeout(() => follow(id, columns), LOOK_MS);
			current = "";
			button.disabled = false;
			stop.hidden = true;
		}
		button.addEventListener("click", go);
		stop.addEventListener("click", () => current && end(current));
		ask = (words) => {
			question.value = words;
			root.scrollIntoView({ block: "start" });
			go();
		};
		const root = el(
			"section",
			{ class: "ll-strengths", "aria-label": "Compare strengths" },
			el("h2", {}, "Compare strengths"),
			el("p", { class: "ll-hint" }, "One question at several strengths of the adapter: 0 is the base, 1 the adapter as trained, 2 twice its change. Greedy, all at once; nobody else's answers change."),
			el("label", { for: question.id }, "Question"),
			question,
			el("p", { class: "ll-lens-do" }, el("label", { for: dials.id }, "Strengths"), dials, el("label", { for: tokens.id }, "Longest answer"), tokens),
			el("p", { class: "ll-lens-do" }, button, stop),
			said,
			asked,
			board
		);
		if (waiting !== null) setTimeout(ask, 0, waiting);
		waiting = null;
		return root;
	};
})(window.LoraLens);
