// All that one press asked: how far it is, how many got better or worse, its pages, and its report.
(function (lens) {
	const { el, setText } = lens;
	const CHANGES = { better: "\u25b2 better", same: "= same", worse: "\u25bc worse", unknown: "not scored" };

	/** The mark in a row's head: whether its tuned answer is better, the same or worse by score. */
	lens.buildChange = function () {
		const root = el("span", { class: "ll-change" });
		return {
			root,
			update(row) {
				root.hidden = !row.change;
				if (!row.change) return;
				root.dataset.change = row.change;
				const who = row.change === "better" || row.change === "worse" ? `${lens.sideWord(row, "tuned")} is ` : "";
				root.title = row.change === "unknown" ? "A scorer could not be tried, or gives no score." : `By the scores of both answers, ${who || "both are the "}${row.change}.`;
				setText(root, CHANGES[row.change]);
			},
		};
	};

	function timeWords(seconds) {
		if (seconds === null) return "";
		if (seconds < 90) return `about ${Math.max(1, seconds)} s left`;
		return seconds < 5400 ? `about ${Math.round(seconds / 60)} min left` : `about ${(seconds / 3600).toFixed(1)} h left`;
	}

	function changeWords(asked) {
		const { better, same, worse, unknown, hidden } = asked.changes;
		if (!better && !same && !worse) return hidden ? `${hidden} hidden until you vote` : unknown ? `${unknown.toLocaleString("en")} not scored` : "";
		const parts = [`${better.toLocaleString("en")} better`, `${same.toLocaleString("en")} the same`, `${worse.toLocaleString("en")} worse`];
		if (unknown) parts.push(`${unknown.toLocaleString("en")} not scored`);
		if (hidden) parts.push(`${hidden.toLocaleString("en")} hidden until you vote`);
		return parts.join(", ");
	}

	/** The bar above the rows; `show(view)` puts another page on the board, which `pinned` then keeps there. */
	lens.buildAsked = function (server, show) {
		const progress = el("p", { class: "ll-progress", role: "status" });
		const changes = el("p", { class: "ll-changes" });
		const wrong = el("small", { class: "ll-wrong", role: "alert" });
		const where = el("span", {});
		const step = (label, words, go) => el("button", { type: "button", class: "ll-quiet", "aria-label": words, onclick: go }, label);
		const back = step("\u2039", "Previous page", () => open(asked.page - 1));
		const forth = step("\u203a", "Next page", () => open(asked.page + 1));
		const number = el("input", { type: "number", min: "1", "aria-label": "Page", class: "ll-page-number" });
		const pager = el("span", { class: "ll-pager", hidden: true }, back, "Page ", number, where, forth);
		const next = step("", "", () => {
			lens.choosePage(asked.last + 1);
			document.getElementById("ll-ask-all")?.click();
		});
		next.removeAttribute("aria-label");
		const reports = el("span", { class: "ll-reports" }, "Report: ", ...["html", "md", "json"].map((kind) => step(kind, `Save the report as ${kind}`, () => save(kind))));
		const root = el("div", { class: "ll-asked", hidden: true }, el("div", {}, changes, progress), el("div", { class: "ll-asked-tools" }, pager, next, reports, wrong));
		let asked = null;
		let pinned = 0;

		function tell(told) {
			const error = told ? told.error : lens.whyNot();
			setText(wrong, error || "");
			return !error;
		}

		async function open(page) {
			const told = await server.asked_page({ id: asked.id, page });
			if (!tell(told)) return;
			pinned = page === told.asked.begun ? 0 : page;
			show(told);
		}
		number.addEventListener("change", () => open(Math.min(Math.max(asked.first, Number(number.value) || 1), asked.begun)));

		async function save(kind) {
			const told = await server.report({ id: asked.id, kind });
			if (tell(told)) lens.download(told.name, told.text);
		}

		function draw(running) {
			root.hidden = !asked;
			if (!asked) return;
			const many = asked.last > asked.first;
			const task = asked.asking > 1;
			progress.hidden = !task;
			setText(changes, changeWords(asked));
			const left = running ? timeWords(asked.seconds_left) : "";
			setText(progress, !task ? "" : running || asked.answered < asked.asking ? [`${asked.answered.toLocaleString("en")} of ${asked.asking.toLocaleString("en")} questions answered`, left, running ? "" : "stopped"].filter(Boolean).join(" \u00b7 ") : `${asked.asking.toLocaleString("en")} questions answered`);
			pager.hidden = !many;
			if (document.activeElement !== number) number.value = asked.page;
			number.max = asked.begun;
			const count = (page) => page.toLocaleString("en");
			const from = asked.first > 1 ? ` of ${count(asked.first)} to ${count(asked.begun)}` : ` of ${count(asked.begun)}`;
			setText(where, asked.begun < asked.last ? `${from} begun, ${count(asked.last)} in all` : from);
			back.disabled = asked.page <= asked.first;
			forth.disabled = asked.page >= asked.begun;
			next.hidden = running || !task || asked.through >= asked.count || asked.answered < asked.asking;
			setText(next, `Ask ${(asked.through + 1).toLocaleString("en")} to ${(lens.task.owner ? asked.count : asked.next).toLocaleString("en")}`);
			reports.style.visibility = running && !asked.answered ? "hidden" : ""; // its room is kept: nothing moves while text arrives
		}

		return {
			root,
			/** Whether the visitor looks at another page than the one that came in. */
			elsewhere: (view) => Boolean(pinned && view.asked && asked && view.asked.id === asked.id && view.asked.page !== pinned),
			/** Takes how everything stands; `page` is what the board shows. */
			update(view) {
				if (!view?.asked) asked = null;
				else {
					if (!asked || asked.id !== view.asked.id) pinned = 0;
					asked = view.asked;
				}
				setText(wrong, "");
				draw(Boolean(view?.running));
			},
			/** Progress of what is asked while another page is shown. */
			news(view) {
				asked = { ...view.asked, page: asked.page };
				draw(view.running);
			},
			/** Asks how it stands now: verdicts and votes change the counts. */
			async refresh(view) {
				if (!view.asked) return;
				const told = await server.asked_now({ id: view.asked.id, page: view.asked.page });
				if (!told || told.error || !asked || asked.id !== view.asked.id) return; // after a restart the counts stay as they were
				view.asked = told.asked;
				asked = told.asked;
				draw(view.running);
			},
		};
	};
})(window.LoraLens);
