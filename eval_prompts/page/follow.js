// A conversation goes on under its last turn: what is asked next, what it goes on from, and a vote on the whole of it.
(function (lens) {
	const { el, setText } = lens;
	lens.WHOLE = "whole-"; // what the id of a whole conversation begins with
	lens.threadOf = (row) => row.thread || row.pair;
	lens.turnOf = (row) => row.turn || 1;

	/** The rows of a view that begin a conversation: its questions, without what was asked further. */
	lens.firsts = (view) => view.rows.filter((row) => lens.turnOf(row) === 1);

	/** All turns of a row's conversation on the board. */
	lens.turnsOf = (view, row) => (lens.threadOf(row) ? view.rows.filter((other) => lens.threadOf(other) === lens.threadOf(row)) : [row]);

	/** `rows` among those of before that the server no longer holds, each at its place in its conversation. */
	lens.joined = function (before, rows) {
		const all = before.map((row) => rows.find((other) => other.pair === row.pair) || row);
		for (const row of rows) {
			if (all.some((other) => other.pair === row.pair)) continue;
			const last = all.findLastIndex((other) => lens.threadOf(other) === lens.threadOf(row));
			all.splice(last < 0 ? all.length : last + 1, 0, row);
		}
		return all;
	};

	/** The form below a row; `ask(question, basis)` sends it. */
	lens.buildFurther = function (name, ask) {
		const box = el("textarea", { rows: "1", "aria-label": `Follow up on ${name}`, placeholder: "Ask further\u2026", maxlength: "20000" });
		const options = { own: el("option", { value: "own" }, "each goes on from its own answer"), left: el("option", { value: "left" }), right: el("option", { value: "right" }) };
		const basis = el("select", { "aria-label": "What both go on from" }, ...Object.values(options));
		const send = el("button", { type: "submit", class: "ll-main" }, "Ask further");
		const form = el("form", { hidden: true }, box, el("div", {}, basis, send));
		const open = el("button", { type: "button", class: "ll-quiet", "aria-expanded": "false" }, "Follow up\u2026");
		const root = el("div", { class: "ll-further" }, open, form);

		function show(on) {
			form.hidden = !on;
			open.setAttribute("aria-expanded", String(on));
			if (on) box.focus();
		}
		open.addEventListener("click", () => show(form.hidden));
		form.addEventListener("submit", (event) => {
			event.preventDefault();
			if (box.value.trim() && !send.disabled) ask(box.value, basis.value);
		});
		box.addEventListener("keydown", (event) => {
			if (event.key === "Escape" && !lens.busy) {
				show(false);
				open.focus();
			}
			if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
			event.preventDefault();
			form.requestSubmit();
		});
		box.addEventListener("input", () => {
			box.style.height = "auto";
			box.style.height = `${Math.min(box.scrollHeight + 2, 200)}px`;
		});

		return {
			root,
			update(row, last, running) {
				const places = Object.keys(row.sides);
				root.hidden = !last || !row.pair || places.length < 2;
				open.disabled = send.disabled = running || !Object.values(row.sides).some((side) => side.text);
				for (const place of places) setText(options[place], `both go on from the ${lens.nameAt(row, place)} answer`);
			},
		};
	};

	/** The line and the votes on a whole conversation below its last turn; made when there is one. */
	lens.buildWhole = function (name, reasons, send, undo) {
		const about = el("p", { class: "ll-whole-about" });
		const root = el("div", { class: "ll-whole", hidden: true }, el("h4", {}, "The whole conversation"), about);
		let votes = null;
		return {
			root,
			update(row, turns, last, running) {
				root.hidden = !last || turns.length < 2;
				if (root.hidden) return;
				if (!votes) {
					votes = lens.buildVotes(`the whole conversation on ${name}`, reasons, send, undo, false);
					root.append(votes.root);
				}
				const done = lens.tasksDone({ rows: turns });
				setText(about, done ? `${lens.sideWord(row, "tuned")} does ${done.tuned} of ${done.of} turns, ${lens.sideWord(row, "base")} ${done.base}` : `${turns.length} turns`);
				const said = row.wholeVote;
				votes.update({ ...row, pair: row.pair && !running ? lens.WHOLE + row.pair : null, vote: said || null });
			},
		};
	};
})(window.LoraLens);
