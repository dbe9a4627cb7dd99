// The Score tab: what is scored now, its verdict once it is over, the questions behind it, and all scorings.
(function (lens) {
	const { el, setText } = lens;
	const BUSY_MS = 1500;
	const IDLE_MS = 15000;
	const percent = (share) => `${Math.round(share * 1000) / 10}%`;

	function left(seconds) {
		if (seconds === null || seconds === undefined) return "";
		const minutes = Math.round(seconds / 60);
		return minutes > 1 ? `about ${minutes} minutes left` : `about ${Math.max(1, Math.round(seconds))} seconds left`;
	}

	/** A side's score with its interval, on a scale from 0 to 100%. */
	function bar(side, title, score) {
		const range = el("span", { class: "ll-range" });
		range.style.left = percent(score.low);
		range.style.width = percent(score.high - score.low);
		const dot = el("span", { class: "ll-rate" });
		dot.style.left = percent(score.value);
		const track = el("div", { class: "ll-interval", "data-side": side, role: "img", "aria-label": `${title}: ${score.words}, ${score.range}` }, ...(score.of ? [range, dot] : []));
		return el("div", { class: "ll-score-side" }, el("span", { class: "ll-badge", "data-side": side }, title), track, el("strong", {}, score.words), el("small", {}, score.of ? score.range : "no answer yet"));
	}

	/** The card of a scoring: the verdict in words, what got worse, and the rest. */
	lens.buildCard = function (card, extra) {
		const list = (name, lines) => (lines.length ? el("ul", { class: name }, ...lines.map((line) => el("li", {}, line))) : null);
		const children = [
			el("h3", {}, card.head),
			el("p", { class: "ll-score-sentence" }, card.sentence),
			card.worse.length ? list("ll-score-worse", card.worse.map((line) => `got worse: ${line}`)) : null,
			list("ll-score-rest", [...card.kept, ...card.missing, ...card.notes]),
			...(extra || []),
		];
		return el("section", { class: "ll-panel ll-score-card", "data-standing": card.standing, "aria-label": "Verdict" }, ...children.filter(Boolean));
	};

	function table(rows) {
		const [head, ...body] = rows;
		return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((cell) => el("th", { scope: "col" }, cell)))), el("tbody", {}, ...body.map(([label, ...cells]) => el("tr", {}, el("th", { scope: "row" }, label), ...cells.map((cell) => el("td", {}, cell))))));
	}

	function figures(view) {
		const parts = view.figures.flatMap((each) => [table(each.rows), el("p", { class: "ll-note" }, each.words), ...(each.parts.length ? [table(each.parts), el("p", { class: "ll-note" }, each.about_parts)] : [])]);
		if (view.forgetting.length) parts.push(table(view.forgetting));
		if (view.habits.length) parts.push(table([["How answers behave", view.titles.base, view.titles.tuned], ...view.habits.map((each) => [each.words, each.base === null ? "\u2013" : `${each.base} of ${each.of}`, `${each.tuned} of ${each.of}`])]));
		return el("details", { class: "ll-score-figures" }, el("summary", {}, "The figures"), el("div", { class: "ll-scroll" }, ...parts), ...view.about.map((line) => el("p", { class: "ll-note" }, line)));
	}

	function save(file) {
		const link = el("a", { download: file.name, href: URL.createObjectURL(new Blob([file.content], { type: file.type })) });
		document.body.append(link);
		link.click();
		link.remove();
		setTimeout(() => URL.revokeObjectURL(link.href), 10000);
	}

	/** Builds the Score tab inside `root`. */
	lens.mountScore = function (root, server) {
		let wanted = "";
		let current = "";
		let asks = 0;
		let timer = 0;
		let finished = "";
		let owner = null;
		const problem = el("div", { class: "ll-notice", role: "alert", hidden: true });
		const empty = el("p", { class: "ll-empty" });
		const name = el("h3", {});
		const words = el("span", { class: "ll-note", role: "status" });
		const fill = el("span", {});
		const progress = el("div", { class: "ll-progress", role: "progressbar", "aria-label": "Answers", "aria-valuemin": "0" }, fill);
		const act = (kind) => async () => {
			const told = await server[kind]({ scoring: current }).catch(() => ({ error: lens.whyNot() }));
			tell(told?.error);
			if (kind === "delete" && !told?.error) wanted = "";
			refresh();
		};
		const stop = lens.button("Stop", "", act("stop"));
		const resume = lens.button("Resume", "", act("resume"));
		const extend = lens.button("Run general", "", act("extend"));
		extend.title = "Score what may have got worse elsewhere, and add it to this verdict";
		const remove = lens.button("Delete", "", async () => confirm(`Delete ${current} with all its answers?`) && (await act("delete")()));
		const teach = lens.button("Train on what passes", "", async () => {
			const told = await server.train_on_passing({ scoring: current }).catch(() => ({ error: lens.whyNot() }));
			tell(told.error || `Run ${told.run} has started: it goes on from this adapter with its own answers to its training questions that pass. Watch it on the Train tab.`, told.error ? "error" : "info");
		});
		teach.title = "The adapter answers the questions it was trained on; what passes this task's checks is trained";
		const takes = [["report.html", "Report"], ["score.csv", "CSV"], ["score.json", "JSON"]].map(([file, label]) => [file, lens.button(label, "", () => take(file))]);
		const bars = el("div", { class: "ll-score-bars" });
		const verdict = el("div", {});
		const now = el("section", { class: "ll-panel ll-score-now", hidden: true }, el("div", { class: "ll-panel-head" }, name, words, stop, resume, extend, teach, ...takes.map(([, button]) => button), remove), progress, bars);
		const form = lens.buildScoreForm(server, (scoring) => {
			wanted = scoring;
			refresh();
		});
		const judge = lens.buildScoreJudge(server, () => refresh());
		const items = lens.buildScoreItems(server, () => refresh());
		const history = lens.buildScoreHistory(server, (scoring) => {
			wanted = scoring;
			refresh().then(() => now.scrollIntoView({ block: "start" }));
		});
		items.root.hidden = true;
		root.classList.add("ll-score");
		root.replaceChildren(problem, form.root, empty, verdict, judge.root, now, items.root, history.root);

		function tell(text, level = "error") {
			problem.hidden = !text;
			problem.dataset.level = level;
			setText(problem, text || "");
		}

		async function take(file) {
			const told = await server.take({ scoring: current, file }).catch(() => ({ error: lens.whyNot() }));
			tell(told.error || told.problem);
			if (!told.error && !told.problem) save(told);
		}

		function draw(view) {
			current = view.scoring || "";
			if (owner !== view.owner) {
				owner = view.owner;
				form.refresh(owner);
			}
			now.hidden = items.root.hidden = !current;
			judge.update(current ? view : null, owner);
			setText(empty, current ? "" : owner ? "Nothing has been scored yet: choose a task, and every question of it is asked of both sides." : "Nothing has been scored yet.");
			empty.hidden = Boolean(current);
			if (!current) return void verdict.replaceChildren();
			setText(name, view.tasks.map((each) => each.title).join(", "));
			const state = view.state === "finished" ? "finished" : view.state === "running" ? "" : `${view.state}: ${view.message}`;
			setText(words, [`${view.done.toLocaleString("en")} of ${view.total.toLocaleString("en")} answers`, left(view.seconds_left), state].filter(Boolean).join(" \u00b7 "));
			const share = view.total ? view.done / view.total : 0;
			fill.style.width = percent(share);
			progress.setAttribute("aria-valuemax", view.total);
			progress.setAttribute("aria-valuenow", view.done);
			progress.hidden = view.state === "finished";
			stop.hidden = !(owner && view.can.stop);
			resume.hidden = !(owner && view.can.resume);
			teach.hidden = !(owner && view.state === "finished");
			extend.hidden = !(owner && view.can.extend);
			remove.hidden = !(owner && view.can.delete);
			for (const [file, button] of takes) button.hidden = view.state !== "finished" || (file === "score.json" && !owner);
			bars.replaceChildren(...view.tasks.flatMap((each) => [el("h4", {}, each.title, el("small", {}, each.metric === "passes" ? " share that passes" : " mean score")), ...Object.entries(each.sides).map(([side, score]) => bar(side, view.titles[side], score))]));
			const key = view.card ? JSON.stringify([view.scoring, view.card, view.figures]) : "";
			if (key !== finished) {
				finished = key;
				verdict.replaceChildren(...(view.card ? [lens.buildCard(view.card, [figures(view)])] : []));
			}
			items.update(view);
		}

		async function refresh() {
			clearTimeout(timer);
			const asked = ++asks;
			let view = null;
			try {
				view = await server.look({ scoring: wanted, ...items.asked });
			} catch {
				// No connection: the header says so, and the next look asks again.
			}
			if (asked !== asks) return;
			if (view && (view.problem || view.error)) {
				tell(view.problem || view.error);
				if (view.error && wanted) wanted = "";
			} else if (view) {
				draw(view);
				history.refresh(current);
			}
			const busy = view && (view.state === "running" || view.judge?.running);
			if (root.checkVisibility() && !document.hidden) timer = setTimeout(refresh, busy ? BUSY_MS : IDLE_MS);
		}
		new IntersectionObserver((seen) => {
			if (!seen.some((entry) => entry.isIntersecting)) return;
			if (owner) form.refresh(owner); // there may be new tasks
			refresh();
		}).observe(root);
		document.addEventListener("visibilitychange", () => !document.hidden && root.checkVisibility() && refresh());
	};
})(window.LoraLens);
