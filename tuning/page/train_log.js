// A run's log: coloured by kind, following its end unless one has scrolled up, copyable, and never longer than its window.
(function (lens) {
	const { el, setText } = lens;
	const MOST_LINES = 400;

	/** A log window; `add(lines)` appends [number, clock, kind, text], `clear()` empties it. */
	lens.buildLog = function () {
		const list = el("div", { class: "ll-log", role: "log", "aria-label": "Training log", tabindex: "0" });
		const lines = [];
		const note = el("span", { class: "ll-hint" });
		const toEnd = el("button", { type: "button", class: "ll-quiet", hidden: true }, "Jump to the end");
		const copy = lens.copyButton("Copy log", () => lines.map(([, clock, , text]) => `${clock} ${text}`).join("\n"));
		const root = el("section", { class: "ll-panel" }, el("div", { class: "ll-panel-head" }, el("h3", {}, "Log"), note, toEnd, copy), list);
		const atEnd = () => list.scrollTop + list.clientHeight >= list.scrollHeight - 24;
		let following = true;

		list.addEventListener("scroll", () => {
			following = atEnd();
			toEnd.hidden = following;
		});
		toEnd.addEventListener("click", () => {
			list.scrollTop = list.scrollHeight;
		});

		function add(news) {
			if (!news.length) return;
			lines.push(...news);
			list.append(...news.map(([, clock, kind, text]) => el("div", { "data-kind": kind }, el("time", {}, clock), el("span", {}, text))));
			const over = lines.length - MOST_LINES;
			if (over > 0) {
				lines.splice(0, over);
				for (let gone = 0; gone < over; gone += 1) list.firstChild.remove();
			}
			const before = lines[0][0] - 1;
			setText(note, before > 0 ? `${before.toLocaleString("en")} earlier lines are in the run's run.log` : "");
			if (following) list.scrollTop = list.scrollHeight;
		}

		function clear() {
			lines.length = 0;
			list.replaceChildren();
			setText(note, "");
			following = true;
			toEnd.hidden = true;
		}
		new IntersectionObserver(() => {
			if (following) list.scrollTop = list.scrollHeight;
		}).observe(list);
		return { root, add, clear };
	};
})(window.LoraLens);
