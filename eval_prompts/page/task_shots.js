// The example turns of a new task: what a user asks and what a good answer is, as often as one likes, in their order.
(function (lens) {
	const { el, setText } = lens;

	/** The turns of a task in pairs of a question and its answer; one without the other keeps the other empty. */
	function paired(shots) {
		const pairs = [];
		for (const { role, content } of shots || []) {
			const last = pairs.at(-1);
			if (role === "assistant" && last && last.assistant === null) last.assistant = content;
			else pairs.push({ user: role === "assistant" ? null : content, assistant: role === "assistant" ? content : null });
		}
		return pairs.map(({ user, assistant }) => ({ user: user ?? "", assistant: assistant ?? "" }));
	}

	/** The part of the form; `changed()` is called whenever the prompt has another look. */
	lens.buildTaskShots = function (changed) {
		const list = el("ol", { class: "ll-task-shots" });
		const wrong = el("small", { class: "ll-wrong", role: "alert" });
		const add = el("button", { type: "button", onclick: () => put([...shots, { user: "", assistant: "" }], shots.length, "user") }, "Add an example");
		const root = el("section", { class: "ll-field ll-task-examples" }, el("label", {}, "Example turns"), el("small", { class: "ll-hint" }, "They stand before every question, as they are written here."), list, el("div", { class: "ll-task-ways" }, add), wrong);
		let shots = [];

		/** Shows other examples, with the focus on a part of one of them. */
		function put(next, place, part) {
			shots = next;
			draw();
			const card = list.children[Math.min(place ?? -1, shots.length - 1)];
			(card?.querySelector(`[data-part="${part}"]:not(:disabled)`) || card?.querySelector("textarea") || (place === undefined ? null : add))?.focus();
			changed();
		}

		function moved(from, to) {
			const next = [...shots];
			next.splice(to, 0, ...next.splice(from, 1));
			return next;
		}

		function field(shot, part, label, place) {
			const input = el("textarea", { rows: "2", spellcheck: "false", "data-part": part, "aria-label": `${label} of example ${place + 1}`, placeholder: label });
			input.value = shot[part];
			input.addEventListener("input", () => (shot[part] = input.value));
			return input;
		}

		function draw() {
			const step = (label, words, part, place, to) => el("button", { type: "button", class: "ll-quiet", "data-part": part, "aria-label": `${words} example ${place + 1}`, disabled: to < 0 || to >= shots.length, onclick: () => put(moved(place, to), to, part) }, label);
			list.replaceChildren(
				...shots.map((shot, place) =>
					el(
						"li",
						{ class: "ll-task-shot" },
						el(
							"header",
							{},
							el("b", {}, `Example ${place + 1}`),
							step("\u2191", "Move up", "up", place, place - 1),
							step("\u2193", "Move down", "down", place, place + 1),
							el("button", { type: "button", class: "ll-quiet", "data-part": "remove", "aria-label": `Remove example ${place + 1}`, onclick: () => put(shots.filter((other) => other !== shot), place, "remove") }, "Remove")
						),
						field(shot, "user", "Question", place),
						field(shot, "assistant", "Answer", place)
					)
				)
			);
		}

		return {
			root,
			tell: (problem) => setText(wrong, problem || ""),
			/** The turns, without those in which nothing is written. */
			get: () => shots.flatMap(({ user, assistant }) => (user.trim() || assistant.trim() ? [{ role: "user", content: user }, { role: "assistant", content: assistant }] : [])),
			set(given) {
				shots = paired(given);
				draw();
			},
		};
	};
})(window.LoraLens);
