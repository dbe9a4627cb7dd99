// The board before anything is asked: the task's questions, each to be asked alone.
(function (lens) {
	const { el } = lens;
	let drawing = 0;

	/** The task's questions, a page at a time, each to be asked alone. */
	lens.drawEmpty = async function (empty) {
		drawing += 1;
		const mine = drawing;
		const told = lens.taskQuestions ? await lens.taskQuestions(lens.task.page) : null;
		if (mine !== drawing) return; // another task has been chosen since
		const { questions = [], page = 1, pages = 1, count = 0, size = 1, error = "" } = told || {};
		const items = questions.map((one) => {
			const ask = el("button", { type: "button", class: "ll-probe", title: "Ask this one" }, el("strong", {}, one.title || one.id), el("span", {}, one.question));
			ask.addEventListener("click", () => lens.askOwn(one.question));
			return el("li", {}, ask);
		});
		const turn = (label, words, to) => el("button", { type: "button", class: "ll-quiet", "aria-label": words, disabled: to < 1 || to > pages, onclick: () => lens.choosePage(to) }, label);
		const pager = pages > 1 ? el("p", { class: "ll-pager" }, turn("\u2039", "Previous questions", page - 1), `Page ${page.toLocaleString("en")} of ${pages.toLocaleString("en")}`, turn("\u203a", "Next questions", page + 1)) : "";
		const words = count ? "Ask them all, and both models answer next to each other. A click on one asks it alone; or type a question of your own." : "Type a question of your own, and both models answer it next to each other.";
		const list = el("ol", {}, ...items);
		list.style.counterReset = `probe ${(page - 1) * size}`;
		empty.replaceChildren(
			el("h2", {}, "See what the adapter changed"),
			el("p", {}, error || words),
			list,
			pager,
			el("p", { class: "ll-keys" }, el("kbd", {}, "Ctrl"), " ", el("kbd", {}, "Enter"), " asks, ", el("kbd", {}, "Esc"), " stops, ", el("kbd", {}, "1"), "\u2013", el("kbd", {}, "4"), " vote")
		);
	};
})(window.LoraLens);
