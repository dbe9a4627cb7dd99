// The reference of a question, folded above its answers, and on a click what each answer says otherwise, word by word.
(function (lens) {
	const { el } = lens;
	const MOST_WORDS = 1200;
	const words = (text) => text.match(/\s+|[^\s\w]|\w+/gu) || [];

	/** The words of two texts in one row, each with which of them has it: 'both', 'first' or 'second'. */
	lens.wordDiff = function (first, second) {
		const [a, b] = [words(first), words(second)];
		if (a.length > MOST_WORDS || b.length > MOST_WORDS) return null;
		const width = b.length + 1;
		const length = new Uint16Array((a.length + 1) * width); // of the longest common part from each pair of places on
		for (let i = a.length - 1; i >= 0; i--) for (let j = b.length - 1; j >= 0; j--) length[i * width + j] = a[i] === b[j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
		const found = [];
		let [i, j] = [0, 0];
		const put = (text, kind) => {
			const last = found.at(-1);
			if (last?.[1] === kind) last[0] += text;
			else found.push([text, kind]);
		};
		while (i < a.length || j < b.length) {
			const same = i < a.length && j < b.length && a[i] === b[j];
			const ours = same || j >= b.length || (i < a.length && length[(i + 1) * width + j] >= length[i * width + j + 1]);
			put(ours ? a[i] : b[j], same ? "both" : ours ? "first" : "second");
			if (ours) i += 1;
			if (same || !ours) j += 1;
		}
		return found;
	};

	function drawDiff(reference, answer) {
		const found = lens.wordDiff(reference, answer);
		if (!found) return [el("p", { class: "ll-hint" }, `More than ${MOST_WORDS.toLocaleString("en")} words: not compared word by word.`)];
		return found.map(([text, kind]) => (kind === "both" ? text : kind === "first" ? el("del", { title: "only in the reference" }, text) : el("ins", { title: "only in the answer" }, text)));
	}

	/** The fold of a row; `update(row)` brings it up to date. Null where there is no reference. */
	lens.buildReference = function (row) {
		if (!row.references?.length) return null;
		const compared = el("div", { class: "ll-against" });
		const root = el("details", { class: "ll-reference" }, el("summary", {}, row.references.length > 1 ? `${row.references.length} references` : "Reference"), ...row.references.map((text) => el("pre", {}, text)), compared);
		let current = row;
		let drawn = "";
		function draw() {
			if (!root.open) return;
			const key = JSON.stringify([Object.values(current.sides).map((side) => side.text), current.names]);
			if (key === drawn) return;
			drawn = key;
			const sides = Object.keys(current.sides).map((place) => el("section", { "data-side": current.names ? current.names[place] : null }, el("h4", {}, `${lens.nameAt(current, place)} against the reference`), el("pre", {}, ...drawDiff(current.references[0], current.sides[place].text))));
			compared.replaceChildren(...sides);
		}
		root.addEventListener("toggle", draw);
		return {
			root,
			update(next) {
				current = next;
				draw();
			},
		};
	};
})(window.LoraLens);
