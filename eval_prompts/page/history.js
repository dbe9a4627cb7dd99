// A visitor's own comparisons, kept in this browser only (localStorage), newest first.
(function (lens) {
	const KEY = "lora-lens.comparisons.2";
	const MOST = 30;

	function usable(entry) {
		return (
			entry &&
			typeof entry.id === "string" &&
			Array.isArray(entry.rows) &&
			entry.rows.every((row) => row?.sides?.left && Object.values(row.sides).every((side) => side && typeof side.text === "string"))
		);
	}

	/** An entry as it would be kept now: one from before pages said where they begin was counted by their size. */
	function ofNow(entry) {
		const { asked } = entry;
		if (!asked) return entry;
		const begin = (page) => Math.min((page - 1) * asked.size, asked.count);
		return { ...entry, asked: { before: begin(asked.page), through: begin(asked.last + 1), next: begin(asked.last + 2), ...asked } };
	}

	function read() {
		try {
			const entries = JSON.parse(localStorage.getItem(KEY) || "[]");
			return Array.isArray(entries) ? entries.filter(usable).slice(0, MOST).map(ofNow) : [];
		} catch {
			return [];
		}
	}

	/** Writes as many of the entries as the browser takes: when its room is full, the oldest go. */
	function write(entries) {
		for (let kept = entries.slice(0, MOST); ; kept = kept.slice(0, -1)) {
			try {
				localStorage.setItem(KEY, JSON.stringify(kept));
				return kept;
			} catch {
				if (!kept.length) return entries.slice(0, MOST);
			}
		}
	}

	lens.history = {
		list: read,
		/** A comparison whose answers go no further than they are; `ending` says why. */
		cut(view, ending) {
			const entry = JSON.parse(JSON.stringify(view));
			for (const row of entry.rows) {
				for (const side of Object.values(row.sides)) {
					if (side.state !== "waiting" && side.state !== "streaming") continue;
					side.state = "cancelled";
					side.ending = ending;
				}
			}
			entry.running = false;
			return entry;
		},
		/** Adds a comparison, or replaces it where it stands; one that was cut off in mid-answer is kept as stopped. */
		save(view) {
			const entry = this.cut(view, "stopped by leaving the page");
			const entries = read();
			const at = entries.findIndex((other) => other.id === entry.id);
			if (at < 0) entries.unshift(entry);
			else entries[at] = entry;
			return write(entries);
		},
		remove: (id) => write(read().filter((entry) => entry.id !== id)),
		clear: () => write([]),
	};

	/** The list below the board: `current()` is the id of the comparison on it, `show(entry)` puts another one there. */
	lens.buildHistory = function (current, show) {
		const { el } = lens;
		const root = el("details", { class: "ll-history" });
		function draw() {
			const entries = lens.history.list();
			root.hidden = !entries.length;
			const items = entries.map((entry) => {
				const open = el("button", { type: "button", class: "ll-entry", "aria-current": entry.id === current() ? "true" : null }, el("span", {}, entry.title), el("small", {}, `${lens.boardParts.when(entry.asked_at)} \u00b7 ${entry.adapter}`));
				open.addEventListener("click", () => show(entry));
				const remove = el("button", { type: "button", class: "ll-quiet", "aria-label": `Forget \u201c${entry.title}\u201d` }, "Forget");
				remove.addEventListener("click", () => {
					lens.history.remove(entry.id);
					draw();
				});
				return el("li", {}, open, remove);
			});
			const clear = el("button", { type: "button", class: "ll-quiet" }, "Forget all");
			clear.addEventListener("click", () => {
				lens.history.clear();
				draw();
			});
			root.replaceChildren(
				el("summary", {}, `Your comparisons (${entries.length})`),
				el("p", { class: "ll-hint" }, "This list is kept in this browser. What you ask and how you vote is kept on the server too, for the owner of this app. "),
				el("ul", {}, ...items),
				clear
			);
		}
		return { root, draw };
	};
})(window.LoraLens);
