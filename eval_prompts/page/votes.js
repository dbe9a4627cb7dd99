// Votes on a pair: four choices, then, if one likes, reasons and a comment. Nothing counts before the server says so.
(function (lens) {
	const { el, setText } = lens;
	const VISITOR = "lora-lens.visitor";
	lens.CHOICES = ["left", "right", "tie", "both_bad"];
	let visitor = null;

	/** A random name for this browser, so that a vote can be changed after a reload; the server keeps only its hash. */
	lens.visitor = function () {
		if (visitor) return visitor;
		try {
			visitor = localStorage.getItem(VISITOR);
		} catch {
			// Without a store the name lasts as long as the page.
		}
		if (visitor) return visitor;
		visitor = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
		try {
			localStorage.setItem(VISITOR, visitor);
		} catch {
			// As above.
		}
		return visitor;
	};

	/** The name of what stands at a place, as it may be told now. */
	lens.nameAt = (row, place) => (row.names ? (row.titles || { base: "Base", tuned: "Tuned" })[row.names[place]] : { left: "A", right: "B" }[place]);

	/** A side's name within a sentence: base and tuned, or the names of two adapters that are compared. */
	lens.sideWord = (row, side) => row.titles?.[side] || side;

	function choiceWords(row, choice) {
		if (choice === "tie") return "Tie";
		return choice === "both_bad" ? "Both are bad" : `${lens.nameAt(row, choice)} is better`;
	}

	function votedWords(row) {
		const words = [];
		if (row.wasHidden) words.push(`A was ${lens.sideWord(row, row.names.left)}, B was ${lens.sideWord(row, row.names.right)}`);
		if (row.vote.streaming) words.push("given while they were writing");
		return words.join(" \u00b7 ");
	}

	/** The bar under a pair. `send(choice, reasons, comment)` and `undo()` return a promise of an error line or "".
	 * `keys` says whether the number keys vote here. */
	lens.buildVotes = function (name, reasons, send, undo, keys = true) {
		let current = null;
		let pending = false;
		let hint = "";
		let trouble = "";

		const buttons = lens.CHOICES.map((choice, index) => {
			const words = el("span", {});
			const button = el("button", { type: "button", class: "ll-choice", "data-choice": choice, "aria-pressed": "false", "aria-keyshortcuts": keys ? String(index + 1) : null }, keys ? el("kbd", { "aria-hidden": "true" }, String(index + 1)) : null, words);
			button.addEventListener("click", () => vote(choice));
			return { choice, button, words };
		});
		const said = el("span", { class: "ll-said", role: "status" });
		const back = el("button", { type: "button", class: "ll-quiet" }, "Undo");
		const more = el("button", { type: "button", class: "ll-quiet", "aria-expanded": "false" }, "Say why");
		const after = el("span", { class: "ll-after" }, said, more, back);
		const problem = el("p", { class: "ll-trouble", role: "alert", hidden: true });
		const tags = reasons.map((reason) => {
			const tag = el("button", { type: "button", class: "ll-tag", "aria-pressed": "false" }, reason.label);
			tag.addEventListener("click", () => {
				const chosen = new Set(current.vote.reasons);
				chosen.has(reason.id) ? chosen.delete(reason.id) : chosen.add(reason.id);
				submit(current.vote.choice, [...chosen], comment.value);
			});
			return { id: reason.id, tag };
		});
		const comment = el("input", { type: "text", placeholder: "In your own words\u2026", "aria-label": "Comment on your vote", maxlength: "2000" });
		const keep = el("button", { type: "submit", class: "ll-save" }, "Save");
		const form = el("form", {}, comment, keep);
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			submit(current.vote.choice, current.vote.reasons, comment.value);
		});
		const why = el("div", { class: "ll-why", hidden: true }, el("div", { class: "ll-tags", role: "group", "aria-label": "Reasons" }, ...tags.map(({ tag }) => tag)), form);
		more.addEventListener("click", () => openWhy(why.hidden));
		back.addEventListener("click", async () => {
			await act(undo);
			if (!current.vote) buttons[0].button.focus(); // the button that had the focus is gone
		});
		const root = el("div", { class: "ll-votes", role: "group", "aria-label": `Which answer to ${name} is better?` }, el("div", { class: "ll-choices" }, ...buttons.map(({ button }) => button)), after, problem, why);

		function openWhy(on) {
			why.hidden = !on;
			more.setAttribute("aria-expanded", String(on));
		}

		async function act(work) {
			if (pending) return;
			pending = true;
			hint = "";
			trouble = "";
			draw();
			try {
				trouble = await work();
			} catch {
				trouble = `Not saved. ${lens.whyNot()}`;
			}
			pending = false;
			draw();
		}

		const submit = (choice, why, words) => act(() => send(choice, why, words));
		const votable = () => Boolean(current?.pair && Object.values(current.sides).some((side) => side.text));

		function vote(choice) {
			if (!votable() || current.vote?.choice === choice) return;
			submit(choice, current.vote?.reasons || [], current.vote?.comment || "");
		}

		function draw() {
			const vote = current.vote;
			root.hidden = !current.pair;
			for (const { choice, button, words } of buttons) {
				setText(words, choiceWords(current, choice));
				button.disabled = !votable();
				button.dataset.side = current.names?.[choice] || "";
				button.setAttribute("aria-pressed", String(vote?.choice === choice));
			}
			setText(said, pending ? "saving\u2026" : vote ? ["\u2713 saved", votedWords(current)].filter(Boolean).join(" \u00b7 ") : hint);
			more.hidden = back.hidden = !vote;
			if (!vote) openWhy(false);
			problem.hidden = !trouble;
			setText(problem, trouble ? `\u2717 ${trouble}` : "");
			for (const { id, tag } of tags) tag.setAttribute("aria-pressed", String(Boolean(vote?.reasons.includes(id))));
			root.dataset.voted = String(Boolean(vote));
		}

		function update(row) {
			const before = current?.vote?.comment;
			current = row;
			if (row.vote?.comment !== before) comment.value = row.vote?.comment || "";
			draw();
		}
		/** A line beside the choices until the next vote. */
		function say(words) {
			hint = words;
			draw();
		}
		return { root, update, vote, say, get open() { return votable() && !current.vote; } };
	};
})(window.LoraLens);
