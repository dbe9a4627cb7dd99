// The Compare tab below its question bar: notice, tool bar, rows, and the visitor's earlier comparisons.
(function (lens) {
	const { el, setText } = lens;

	function when(seconds) {
		const date = new Date(seconds * 1000);
		const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
		return date.toDateString() === new Date().toDateString() ? `today ${time}` : `${date.toLocaleDateString()} ${time}`;
	}

	function waitingWords(view) {
		const status = lens.status;
		if (status && status.state === "loading") return `Waits for the models: ${status.words}`;
		if (view.ahead) return `Waits in line: ${view.ahead} answer${view.ahead === 1 ? "" : "s"} of others come first`;
		return "Reading the question\u2026";
	}

	function outcome(view) {
		if (view.running) return "";
		const compared = view.rows.filter((row) => row.differs !== null);
		const ended = (side) => view.rows.filter((row) => row.sides[side] && row.sides[side].state === "ended").length;
		const differing = compared.filter((row) => row.differs).length;
		const words = [];
		if (compared.length > 1) words.push(`${differing} of ${compared.length} answers differ`);
		if (view.rows.length > 1) words.push(`ended by itself: base ${ended("base")}, tuned ${ended("tuned")} of ${view.rows.length}`);
		return words.join(" \u00b7 ");
	}

	function toggle(label, key, apply) {
		const box = el("input", { type: "checkbox" });
		box.checked = lens.preference(key);
		box.addEventListener("change", () => {
			lens.preference(key, box.checked);
			apply(box.checked);
		});
		apply(box.checked);
		return el("label", { class: "ll-check" }, box, label);
	}

	/** Reads or, with a value, remembers a yes/no choice of this browser. */
	lens.preference = function (key, value) {
		try {
			if (value === undefined) return localStorage.getItem("lora-lens." + key) === "yes";
			localStorage.setItem("lora-lens." + key, value ? "yes" : "no");
		} catch {
			// A browser that stores nothing simply forgets the choice.
		}
		return Boolean(value);
	};

	/** Builds the board inside `root`; `props.value` holds the comparison the server streams. */
	lens.mountBoard = function (root, props, watch) {
		let view = null;
		let rows = [];
		let drawnId = null;
		let frame = 0;

		const problem = el("div", { class: "ll-notice", role: "alert", hidden: true });
		const notice = el("div", { class: "ll-notice", role: "status", hidden: true });
		const spoken = el("div", { class: "ll-offscreen", "aria-live": "polite" });
		const title = el("h2", {});
		const about = el("p", {});
		const list = el("div", { class: "ll-rows" });
		const nothing = el("p", { class: "ll-nothing" }, "Every answer is the same on both sides. Clear the filter to read them.");
		const history = el("details", { class: "ll-history" });
		const onlyDiffering = toggle("Only rows whose answers differ", "only-differing", (on) => (list.dataset.filter = on ? "differs" : "all"));
		const tools = el(
			"div",
			{ class: "ll-tools" },
			el("div", { class: "ll-about" }, title, about),
			onlyDiffering,
			toggle("Full height", "full-height", (on) => (list.dataset.height = on ? "full" : "fixed"))
		);
		const empty = el("div", { class: "ll-empty" });
		root.classList.add("ll-board");
		root.replaceChildren(problem, notice, spoken, empty, tools, list, nothing, history);
		drawEmpty();

		function drawEmpty() {
			const items = (props.probes || []).map((probe) => el("li", {}, el("strong", {}, probe.title), el("span", {}, probe.question)));
			empty.replaceChildren(
				el("h2", {}, "See what the adapter changed"),
				el("p", {}, "Press \u201cAsk all five\u201d and both models answer these questions next to each other, or type a question of your own."),
				el("ol", {}, ...items),
				el("p", { class: "ll-keys" }, el("kbd", {}, "Ctrl"), " ", el("kbd", {}, "Enter"), " asks, ", el("kbd", {}, "Esc"), " stops")
			);
		}

		function drawHistory() {
			const entries = lens.history.list();
			history.hidden = !entries.length;
			const items = entries.map((entry) => {
				const current = view && entry.id === view.id;
				const open = el("button", { type: "button", class: "ll-entry", "aria-current": current ? "true" : null }, el("span", {}, entry.title), el("small", {}, `${when(entry.asked_at)} \u00b7 ${entry.adapter}`));
				open.addEventListener("click", () => {
					if (view && view.running) return showNotice("info", "Both models are still writing: wait for them or press Stop.");
					show(entry);
					root.scrollIntoView({ block: "start" });
				});
				const remove = el("button", { type: "button", class: "ll-quiet", "aria-label": `Forget \u201c${entry.title}\u201d` }, "Forget");
				remove.addEventListener("click", () => {
					lens.history.remove(entry.id);
					drawHistory();
				});
				return el("li", {}, open, remove);
			});
			const clear = el("button", { type: "button", class: "ll-quiet" }, "Forget all");
			clear.addEventListener("click", () => {
				lens.history.clear();
				drawHistory();
			});
			history.replaceChildren(
				el("summary", {}, `Your comparisons (${entries.length})`),
				el("p", { class: "ll-hint" }, "Kept in this browser only. "),
				el("ul", {}, ...items),
				clear
			);
		}

		function showNotice(level, text) {
			notice.hidden = !text || text === problem.textContent;
			notice.dataset.level = level;
			setText(notice, text);
		}

		function draw() {
			frame = 0;
			empty.hidden = Boolean(view);
			tools.hidden = list.hidden = !view;
			nothing.hidden = true;
			if (!view) return;
			if (drawnId !== view.id) {
				rows = view.rows.map((row, index) => lens.buildRow(row, index, view.rows.length === 1));
				list.replaceChildren(...rows.map((row) => row.root));
				drawnId = view.id;
			}
			const waiting = waitingWords(view);
			view.rows.forEach((row, index) => rows[index].update(row, view, waiting));
			setText(title, view.rows.length === 1 ? "Your own question" : view.title);
			setText(about, [`Asked ${when(view.asked_at)}`, view.settings, outcome(view)].filter(Boolean).join(" \u00b7 "));
			list.dataset.running = String(view.running);
			onlyDiffering.hidden = view.rows.length === 1;
			nothing.hidden = view.running || view.rows.length === 1 || list.dataset.filter !== "differs" || view.rows.some((row) => row.differs !== false);
		}

		function show(next) {
			view = next;
			lens.setBusy(Boolean(view && view.running));
			if (!frame) frame = requestAnimationFrame(draw);
		}

		function finished() {
			lens.history.save(view);
			drawHistory();
			setText(spoken, `Answers complete. ${outcome(view)}`);
		}

		function received() {
			const value = props.value && JSON.parse(JSON.stringify(props.value));
			if (!value) return;
			const asked = value.rows ? value : null;
			showNotice(value.notice ? value.notice.level : "info", value.notice ? value.notice.text : "");
			if (!asked) return lens.setBusy(false);
			show(asked);
			if (!asked.running) finished();
		}

		tools.addEventListener("change", () => draw());
		watch("value", received);
		lens.onStatus((status) => {
			problem.hidden = !status.problem;
			setText(problem, status.problem);
			if (view && view.running) draw();
		});
		addEventListener("pagehide", () => view && view.running && lens.history.save(view));
		const [latest] = lens.history.list();
		drawHistory();
		if (latest) show(latest);
		else draw();
	};
})(window.LoraLens);
