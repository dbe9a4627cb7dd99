// The board before anything is asked: the task's questions, each to be asked alone.
(function (lens) {
	const { el, setText } = lens;
	const SEARCH_MS = 200;
	const DIGEST = /^[0-9a-f]{16}$/; // the id of a row of data, which names nothing to people
	const KINDS = { gain: "a gain", tie: "a tie", loss: "a loss" };

	/** One line of what the adapter was measured to be, how a click away, and a question each of gain, tie and loss. */
	function evidenceOf(told) {
		if (!told?.line) return [];
		const examples = told.examples.map((one) => {
			const ask = el("button", { type: "button", class: "ll-quiet", title: one.question }, el("b", {}, KINDS[one.kind] || one.kind), ` ${one.question.split("\n")[0]}`);
			ask.addEventListener("click", () => lens.askOwn(one.question));
			return ask;
		});
		const without = Object.keys(KINDS).filter((kind) => !told.examples.some((one) => one.kind === kind));
		const missing = without.length ? el("small", {}, `There is no example of ${without.map((kind) => KINDS[kind]).join(", nor of ")}.`) : "";
		return [
			el("details", { class: "ll-evidence" }, el("summary", {}, told.line), ...told.how.map((sentence) => el("p", {}, sentence))),
			examples.length ? el("p", { class: "ll-evidence-examples" }, "See for yourself: ", ...examples, missing) : "",
		];
	}

	/** Fills `root` with a page of the task's questions, which can be searched where they are many; returns what draws
	 * it again for another task or page. */
	lens.buildEmpty = function (root) {
		let drawing = 0;
		let timer = 0;
		let searched = ""; // the task and words that were looked for last
		let foundPage = 1;
		const evidence = el("div", {});
		const words = el("p", {});
		const search = el("input", { type: "search", class: "ll-search", placeholder: "Search the questions\u2026", "aria-label": "Search the questions", autocomplete: "off" });
		const said = el("span", { class: "ll-hint", role: "status" });
		const finder = el("p", { class: "ll-finder", hidden: true }, search, said);
		const list = el("ol", {});
		const pager = el("p", { class: "ll-question-pager", hidden: true });
		root.replaceChildren(
			el("h2", {}, "See what the adapter changed"),
			evidence,
			words,
			finder,
			list,
			pager,
			el("p", { class: "ll-keys" }, el("kbd", {}, "Ctrl"), " ", el("kbd", {}, "Enter"), " asks, ", el("kbd", {}, "Esc"), " stops, ", el("kbd", {}, "1"), "\u2013", el("kbd", {}, "4"), " vote")
		);

		function item(one) {
			const name = one.title || (DIGEST.test(one.id) ? "" : one.id);
			const ask = el("button", { type: "button", class: name ? "ll-probe" : "ll-probe ll-unnamed", title: "Ask this one", "data-number": one.number }, name ? el("strong", {}, name) : null, el("span", {}, one.question));
			ask.addEventListener("click", () => lens.askOwn(one.question));
			return el("li", {}, ask);
		}

		/** Steps between pages, and a field for the page's number. */
		function drawPager(page, pages, turn) {
			pager.hidden = pages < 2;
			const step = (label, name, to) => el("button", { type: "button", class: "ll-quiet", "aria-label": name, disabled: to < 1 || to > pages, onclick: () => turn(to) }, label);
			const number = el("input", { type: "number", class: "ll-page", min: "1", max: String(pages), value: String(page), "aria-label": "Page of questions" });
			number.addEventListener("change", () => turn(Math.min(Math.max(1, Math.round(Number(number.value)) || 1), pages)));
			pager.replaceChildren(step("\u2039", "Previous questions", page - 1), "Page ", number, ` of ${pages.toLocaleString("en")}`, step("\u203a", "Next questions", page + 1));
		}

		async function draw() {
			drawing += 1;
			const mine = drawing;
			const key = `${lens.task.name}\n${search.value.trim()}`;
			if (!key.startsWith(`${searched.split("\n")[0]}\n`)) search.value = ""; // another task
			const find = search.value.trim();
			if (`${lens.task.name}\n${find}` !== searched) foundPage = 1;
			searched = `${lens.task.name}\n${find}`;
			const told = lens.taskQuestions ? await lens.taskQuestions(find ? foundPage : lens.task.page, find) : null;
			const measured = !find && lens.evidence ? await lens.evidence() : null;
			if (mine !== drawing) return; // another task or page has been chosen since
			if (!find) evidence.replaceChildren(...evidenceOf(measured));
			const { questions = [], page = 1, pages = 1, count = 0, all = 0, size = 1, error = "" } = told || {};
			setText(words, error || (all ? "Ask them all, and both models answer next to each other. A click on one asks it alone; or type a question of your own." : "Type a question of your own, and both models answer it next to each other."));
			finder.hidden = all <= size;
			setText(said, find ? (count ? `${count.toLocaleString("en")} of ${all.toLocaleString("en")} questions` : `None of ${all.toLocaleString("en")} questions holds that.`) : "");
			list.replaceChildren(...questions.map(item));
			drawPager(page, pages, (to) => {
				if (!find) return lens.choosePage(to);
				foundPage = to;
				draw();
			});
		}
		search.addEventListener("input", () => {
			clearTimeout(timer);
			timer = setTimeout(draw, SEARCH_MS);
		});
		return draw;
	};
})(window.LoraLens);
