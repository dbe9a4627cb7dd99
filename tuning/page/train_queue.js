// Several runs: values to try, the runs that wait, and whether another one is started after the one that trains.
(function (lens) {
	const { el, setText } = lens;
	const HINT = "rank=8,16; learning_rate=1e-3,3e-4";

	/** The panel; `asked()` is the form's preset, values and name. `refresh()` looks at the queue again. */
	lens.buildQueue = function (server, asked) {
		const grid = el("input", { type: "text", id: "ll-grid", autocomplete: "off", spellcheck: "false", placeholder: HINT });
		const said = el("p", { class: "ll-note", role: "status", hidden: true });
		const list = el("ol", { class: "ll-waiting" });
		const failed = el("span", {});
		const problems = el("div", { class: "ll-notice", hidden: true }, failed, " ", lens.button("Dismiss", "ll-small", () => change("dismiss", {})));
		const add = lens.button("Queue it", "", enqueue);
		const hold = lens.button("Start no other", "ll-small", () => change("pause", { on: hold.dataset.paused !== "true" }));
		const head = el("div", { class: "ll-queue-head" }, el("b", {}, "Waiting"), hold);
		const about = "Runs that wait are trained one after the other, also while this page is closed. Values to try make one run for each combination.";
		const root = el("details", { class: "ll-more ll-queue" }, el("summary", {}, "Several runs"), el("p", { class: "ll-note" }, about), el("div", { class: "ll-field ll-text" }, el("label", { for: "ll-grid" }, "Values to try"), grid), el("div", {}, add), said, problems, head, list);

		function tell(text, level) {
			said.hidden = !text;
			said.classList.toggle("ll-warning", level === "error");
			setText(said, text || "");
		}

		async function enqueue() {
			const told = await server.enqueue({ ...asked(), grid: grid.value.trim() }).catch(() => null);
			tell(told?.waiting ? `${told.waiting} ${told.waiting === 1 ? "run waits" : "runs wait"} now.` : told?.error || lens.whyNot(), told?.waiting ? "info" : "error");
			if (told?.waiting) grid.value = "";
			refresh();
		}

		async function change(name, sent) {
			const told = await server[name](sent).catch(() => null);
			if (!told || told.error) tell(told?.error || lens.whyNot(), "error");
			refresh();
		}

		function row(run, place) {
			const drop = lens.button("Remove", "ll-small", () => change("drop", { place, name: run.name }));
			return el("li", {}, el("span", {}, el("b", {}, run.name || "a run"), el("small", {}, run.words)), drop);
		}

		async function refresh() {
			const told = await server.waiting({}).catch(() => null);
			if (!told?.waiting) return;
			const count = told.waiting.length;
			head.hidden = !count;
			hold.dataset.paused = String(told.paused);
			setText(hold, told.paused ? "Go on" : "Start no other");
			setText(head.firstChild, told.paused ? `${count} waiting, none is started` : `${count} waiting`);
			list.replaceChildren(...told.waiting.map(row));
			problems.hidden = !told.problems.length;
			setText(failed, told.problems.length ? `Not started: ${told.problems.join(" ")}` : "");
			const news = count ? "waiting" : failed.textContent;
			if (!news || root.dataset.met === news) return;
			root.dataset.met = news; // it is opened once for each; what a user closes stays closed
			root.open = true;
		}
		return { root, refresh };
	};
})(window.LoraLens);
