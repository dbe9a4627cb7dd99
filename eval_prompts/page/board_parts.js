// What the board says of a comparison as a whole: its place in line, its outcome, which side does more of its tasks.
(function (lens) {
	const { el } = lens;

	function when(seconds) {
		const date = new Date(seconds * 1000);
		const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
		return date.toDateString() === new Date().toDateString() ? `today ${time}` : `${date.toLocaleDateString()} ${time}`;
	}

	/** 1 -> 1st, 2 -> 2nd, 11 -> 11th, 22 -> 22nd. */
	function ordinal(number) {
		const teen = Math.floor(number / 10) % 10 === 1;
		return `${number}${(!teen && ["", "st", "nd", "rd"][number % 10]) || "th"}`;
	}

	function waitingWords(view) {
		const status = lens.status;
		if (status && status.state === "loading") return `Waits for the models: ${status.words}`;
		if (view.ahead) {
			const first = view.ahead === 1 ? "1 answer of others comes first" : `${view.ahead} answers of others come first`;
			return `You are ${ordinal(view.place)} in line: ${first}${view.at_once ? `; the server writes ${view.at_once} at a time` : ""}.`;
		}
		return "Reading the question\u2026";
	}

	function outcome(view) {
		if (view.running) return "";
		const compared = view.rows.filter((row) => row.differs !== null);
		const differing = compared.filter((row) => row.differs).length;
		const words = [];
		if (compared.length > 1) words.push(`${differing} of ${compared.length} answers differ`);
		const told = view.rows.filter((row) => row.names);
		const placeOf = (row, side) => Object.keys(row.names).find((place) => row.names[place] === side);
		const ended = (side) => told.filter((row) => row.sides[placeOf(row, side)]?.state === "ended").length;
		if (view.rows.length > 1 && told.length === view.rows.length) words.push(`ended by itself: ${lens.sideWord(told[0], "base")} ${ended("base")}, ${lens.sideWord(told[0], "tuned")} ${ended("tuned")} of ${view.rows.length}`);
		return words.join(" \u00b7 ");
	}

	/** One line on which side does more of its tasks, as far as blind rows have been revealed. */
	function drawTally(line, view) {
		const done = lens.tasksDone(view);
		const hidden = view.rows.filter((row) => !row.names).length;
		const parts = [];
		if (done) {
			const said = (side, words) => el("span", { "data-side": side }, `${lens.sideWord(view.rows[0], side)}: `, el("b", {}, `${done[side]} of ${done.of}`), words);
			parts.push(said("tuned", done.of === 1 ? " does the task" : " do the task"), ", ", said("base", ""));
		}
		if (hidden) parts.push(done ? " \u00b7 " : "", view.rows.length === 1 ? "blind: your vote tells who is who" : `blind: ${hidden} of ${view.rows.length} hidden until you vote`);
		const key = JSON.stringify([done, hidden]);
		if (line.dataset.key === key) return;
		line.dataset.key = key;
		line.replaceChildren(...parts);
	}

	/** How tall an answer's frame is, in rem: as the longest answer that was asked for needs, and no taller than usual. */
	function frameOf(view) {
		const longest = Number(/^[\d,]+/.exec(view.settings)?.[0].replaceAll(",", "")) || 300;
		return Math.min(25, 10 + longest / 10);
	}

	/** Reads or, with a value, remembers a yes/no choice of this browser. */
	lens.preference = function (key, value) {
		try {
			if (value === undefined) return localStorage.getItem(`lora-lens.${key}`) === "yes";
			localStorage.setItem(`lora-lens.${key}`, value ? "yes" : "no");
		} catch {
			// A browser that stores nothing simply forgets the choice.
		}
		return Boolean(value);
	};

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

	lens.boardParts = { when, waitingWords, outcome, drawTally, frameOf, toggle };
})(window.LoraLens);
