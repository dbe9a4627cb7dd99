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
})(window.LoraLens);
