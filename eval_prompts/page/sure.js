// How sure a model was of each token of its answer, while it writes and after: the less sure, the heavier the line.
(function (lens) {
	const { el, setText } = lens;
	const STEPS = [0.9, 0.7, 0.4, 0.15]; // below each of these a token's line is one step heavier

	const step = (odds) => (odds === null ? "unknown" : STEPS.filter((least) => odds < least).length);
	const percent = (odds) => (odds === null ? "not told" : odds >= 0.995 && odds < 1 ? ">99%" : odds < 0.005 ? "<1%" : `${Math.round(odds * 100)}%`);
	const shownText = (text) => (/^\n+$/.test(text) ? text.replace(/\n/g, "\u21b5\n") : text);

	lens.sureLegend = function () {
		const sample = (shade, words) => el("span", { class: "ll-sure-token", "data-sure": shade }, words);
		return el("p", { class: "ll-lens-legend", "aria-label": "Legend" }, "how likely the model found its token: ", sample(0, "90% and more"), sample(1, "70%"), sample(2, "40%"), sample(3, "15%"), sample(4, "less"));
	};

	/** An answer's tokens; `update(view)` draws what is new, and leaves the rest as it stands. */
	lens.buildSure = function () {
		const list = el("div", { class: "ll-sure-tokens", role: "listbox", "aria-orientation": "horizontal" });
		const note = el("p", { class: "ll-lens-note" });
		const said = el("p", { class: "ll-sure-said", role: "status" }, "");
		const root = el("div", { class: "ll-sure" }, note, list, said);
		let items = [];
		let current = 0;

		const words = (item) => `${JSON.stringify(item.token)}: ${percent(item.odds)}${item.odds === null ? "" : " likely to its model"}`;
		function tell(item) {
			setText(said, words(item));
		}
		function focus(place) {
			const next = items[Math.max(0, Math.min(items.length - 1, place))];
			items[current].tabIndex = -1;
			current = items.indexOf(next);
			next.tabIndex = 0;
			next.setAttribute("aria-label", `${words(next)}; token ${current + 1} of ${items.length}`);
			next.focus();
		}
		/** The next token, or with -1 the one before, of which the model was less than 40% sure. */
		function jump(from, way) {
			for (let place = from + way; place >= 0 && place < items.length; place += way) if (items[place].odds !== null && items[place].odds < STEPS[2]) return place;
			return from;
		}
		const KEYS = { ArrowRight: (at) => at + 1, ArrowLeft: (at) => at - 1, Home: () => 0, End: () => items.length - 1, ArrowDown: (at) => jump(at, 1), ArrowUp: (at) => jump(at, -1) };
		list.addEventListener("keydown", (event) => {
			const place = items.indexOf(event.target);
			if (place < 0 || !KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
			event.preventDefault();
			event.stopPropagation();
			focus(KEYS[event.key](place));
		});
		list.addEventListener("focusin", (event) => {
			const place = items.indexOf(event.target);
			if (place < 0) return;
			items[current].tabIndex = -1;
			current = place;
			event.target.tabIndex = 0;
			event.target.setAttribute("aria-label", `${words(event.target)}; token ${place + 1} of ${items.length}`);
			tell(event.target);
		});
		list.addEventListener("mouseover", (event) => event.target.token !== undefined && tell(event.target));

		function draw(item, token, odds) {
			item.token = token;
			item.odds = odds;
			item.dataset.sure = step(odds);
			setText(item, shownText(token));
		}
		function update(view, name) {
			list.setAttribute("aria-label", `How sure ${name} was of each token; arrow keys walk, up and down go to the unsure ones`);
			setText(note, view.note);
			note.hidden = !view.note;
			const fresh = [];
			view.tokens.forEach(([token, odds], place) => {
				const item = items[place] || el("span", { class: "ll-sure-token", role: "option", tabindex: place ? "-1" : "0" });
				if (item.token !== token || item.odds !== odds) draw(item, token, odds);
				if (place >= items.length) fresh.push(item);
			});
			for (const item of items.slice(view.tokens.length)) item.remove();
			items = [...items.slice(0, view.tokens.length), ...fresh];
			current = Math.min(current, Math.max(0, items.length - 1));
			list.append(...fresh);
		}
		return { root, update };
	};
})(window.LoraLens);
