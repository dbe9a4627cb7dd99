// The machine's findings on one answer: small badges, and behind each its reason and what the code printed.
(function (lens) {
	const { el, setText } = lens;
	const SIGNS = { good: "\u2713", bad: "\u2717", neutral: "\u25cb" };
	const SPOKEN = { good: "good: ", bad: "bad: ", neutral: "" }; // for those who do not see the sign

	/** Badges in `bar`, what is behind them in `panel`; `update(verdict, hidden)` brings both up to date. */
	lens.buildBadges = function () {
		const bar = el("span", { class: "ll-badges" });
		const reason = el("p", {});
		const printed = el("pre", { tabindex: "0" });
		const heading = el("p", { class: "ll-printed" }, "It printed:");
		const panel = el("div", { class: "ll-finding", hidden: true }, reason, heading, printed);
		let drawn = "";
		let opened = null;

		const nameOf = (badge) => `${badge.kind} ${badge.label}`; // two scorers give badges of one kind

		function open(badge) {
			opened = badge ? nameOf(badge) : null;
			for (const button of bar.querySelectorAll("button")) button.setAttribute("aria-expanded", String(button.dataset.name === opened));
			panel.hidden = !badge;
			if (!badge) return;
			setText(reason, badge.reason);
			setText(printed, badge.output);
			heading.hidden = printed.hidden = !badge.output;
		}

		function draw(badge) {
			const inside = [el("span", { "aria-hidden": "true" }, SIGNS[badge.state]), el("span", { class: "ll-offscreen" }, SPOKEN[badge.state] || ""), badge.label];
			const attributes = { class: "ll-verdict", "data-kind": badge.kind, "data-name": nameOf(badge), "data-state": badge.state };
			if (!badge.reason && !badge.output) return el("span", attributes, ...inside);
			const button = el("button", { type: "button", "aria-expanded": "false", ...attributes }, ...inside);
			button.addEventListener("click", () => open(opened === nameOf(badge) ? null : badge));
			return button;
		}

		function update(verdict, hidden) {
			const key = JSON.stringify([verdict, hidden]);
			if (key === drawn) return;
			drawn = key;
			// How an answer ended is said beside its measures already.
			const badges = verdict ? verdict.badges.filter((badge) => badge.kind !== "ended") : [];
			const waiting = verdict?.checking;
			bar.replaceChildren(...(waiting ? [el("span", { class: "ll-verdict", "data-state": "checking" }, "checking\u2026")] : badges.map(draw)));
			if (hidden) bar.append(el("span", { class: "ll-later" }, "The machine\u2019s verdict is shown after your vote."));
			open(badges.find((badge) => nameOf(badge) === opened) || null);
		}
		return { bar, panel, update };
	};

	/** How many of a view's revealed rows have answers that do their task, by side; null while that is not known. */
	lens.tasksDone = function (view) {
		const done = { base: 0, tuned: 0, of: 0 };
		for (const row of view.rows) {
			const places = row.names ? Object.entries(row.names) : [];
			const tasks = places.map(([place, side]) => [side, row.sides[place].verdict?.badges.find((badge) => badge.kind === "task")]);
			if (tasks.length !== 2 || !tasks.every(([, badge]) => badge)) continue;
			done.of += 1;
			for (const [side, badge] of tasks) done[side] += badge.state === "good";
		}
		return done.of ? done : null;
	};
})(window.LoraLens);
