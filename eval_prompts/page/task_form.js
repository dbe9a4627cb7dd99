// The drawer in which the owner writes a task: its fields, what is wrong with them, and the prompt as it will be asked.
(function (lens) {
	const { el, setText } = lens;
	const LOOK_MS = 250;
	const EMPTY = { original: "", name: "", title: "", description: "", system: "", user: "", shots: [], score: [], settings: {}, stop: "", show: true, questions: null, columns: {} };
	const SETTINGS = [
		["max_new_tokens", "Longest answer, in tokens", "300"],
		["temperature", "Temperature", "0"],
		["top_p", "Top-p", "1"],
		["seed", "Seed", "0"],
	];
	const CALLED = { name: "Name", questions: "Questions", system: "System prompt", user: "User turn", shots: "Example turns", score: "Scorers", settings: "Settings of the answers", stop: "Stop texts" };
	const NEW = "a new task"; // no task can be called so

	/** One labelled field with a place for what is wrong with it. */
	lens.taskField = function (name, label, input, hint) {
		input.id = `ll-task-${name}`;
		const error = el("small", { class: "ll-wrong", id: `${input.id}-wrong`, role: "alert" });
		input.setAttribute("aria-describedby", error.id);
		const root = el("div", { class: "ll-field" }, el("label", { for: input.id }, label), input, hint ? el("small", { class: "ll-hint" }, hint) : null, error);
		const tell = (problem) => {
			setText(error, problem || "");
			if (problem) input.setAttribute("aria-invalid", "true");
			else input.removeAttribute("aria-invalid");
		};
		return { root, input, tell };
	};

	/** Tokens as they go to the model, each with its own ground, line ends made visible. */
	function drawTokens(pieces) {
		return pieces.map((piece, at) => el("span", { class: "ll-token", "data-odd": at % 2 ? "yes" : null, title: `token ${at + 1}` }, piece.replaceAll("\n", "\u21b5\n") || "\u00b7"));
	}

	/** The drawer; `saved(name)` is called once a task is kept. */
	lens.buildTaskForm = function (props, server, saved) {
		const text = (attributes) => el("input", { type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
		const area = (rows, attributes) => el("textarea", { rows, spellcheck: "false", ...attributes });
		const fields = {
			name: lens.taskField("name", "Name", text({ maxlength: "64", placeholder: "pirate" }), "letters, digits, dots, dashes, underscores"),
			title: lens.taskField("title", "Title", text({ placeholder: "what it is called on the page; may be empty" })),
			system: lens.taskField("system", "System prompt", area(3, { placeholder: "none" })),
			user: lens.taskField("user", "User turn", area(2, { placeholder: "{question}" }), "over the columns of the questions, such as In {continent}: {question}; empty for the question as it is"),
			stop: lens.taskField("stop", "Stop texts", area(1, { placeholder: "none" }), "one a line; \\n is a line's end"),
		};
		const settings = SETTINGS.map(([name, label, usual]) => [name, lens.taskField(`setting-${name}`, label, text({ inputmode: "decimal", placeholder: usual }))]);
		const settingsWrong = el("small", { class: "ll-wrong", role: "alert" });
		const show = el("input", { type: "checkbox", id: "ll-task-show" });
		const questions = lens.buildTaskQuestions(server, touched, filled);
		const shots = lens.buildTaskShots(touched);
		const scorers = lens.buildTaskScorers(props.scorers, server, touched, asked);
		const count = el("p", { class: "ll-note", role: "status" });
		const where = el("span", { class: "ll-note" });
		const step = (label, by) => el("button", { type: "button", class: "ll-quiet", "aria-label": by < 0 ? "Previous question" : "Next question", onclick: () => move(by) }, label);
		const prompt = el("pre", { class: "ll-prompt", tabindex: "0", "aria-label": "The exact prompt" });
		const reference = el("p", { class: "ll-note" });
		const preview = el("section", { class: "ll-task-preview" }, el("h4", {}, "The exact prompt"), el("div", { class: "ll-task-steps" }, step("\u2039", -1), where, step("\u203a", 1)), prompt, reference);
		const problem = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const keep = el("button", { type: "button", class: "ll-main", onclick: save }, "Save task");
		const heading = el("h3", { id: "ll-task-heading" });
		const again = el("p", { class: "ll-note", hidden: true }, "What you wrote before is still here. ", el("button", { type: "button", class: "ll-quiet", onclick: () => open(base === EMPTY ? null : base, true) }, "Start afresh"));
		const more = el("details", { class: "ll-more" }, el("summary", {}, CALLED.settings), el("div", { class: "ll-task-two" }, ...settings.map(([, field]) => field.root)), settingsWrong, fields.stop.root);
		const root = el(
			"dialog",
			{ class: "ll-drawer", "aria-labelledby": heading.id },
			el("header", {}, heading, el("button", { type: "button", class: "ll-quiet", onclick: () => root.close() }, "Close")),
			again,
			el("div", { class: "ll-task-two" }, fields.name.root, fields.title.root),
			questions.root,
			fields.system.root,
			fields.user.root,
			shots.root,
			preview,
			scorers.root,
			more,
			el("label", { class: "ll-check", for: show.id }, show, "Visitors may see and use it"),
			problem,
			el("footer", {}, keep, count)
		);
		let base = EMPTY;
		let begun = ""; // which task the form holds
		let dirty = false; // whether somebody has written in it since
		let number = 0;
		let known = 0;
		let timer = 0;
		let asking = 0;

		function asked() {
			const typed = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.input.value]));
			return { ...base, ...typed, ...questions.get(), shots: shots.get(), score: scorers.get(), settings: Object.fromEntries(settings.map(([name, field]) => [name, field.input.value])), show: show.checked, number };
		}

		/** Data brings its own prompt, and a name. */
		function filled(told) {
			if (told.system !== undefined) fields.system.input.value = told.system;
			if (told.user !== undefined) fields.user.input.value = told.user;
			if (told.name && !fields.name.input.value) fields.name.input.value = told.name;
			if (told.tests && !scorers.get().length) scorers.set([{ name: "python", options: {} }]);
		}

		function touched() {
			dirty = true;
			changed();
		}

		function move(by) {
			number = Math.min(Math.max(0, number + by), Math.max(0, known - 1));
			changed();
		}

		/** Has the server say what is wrong, and what would be asked. Answers that have been overtaken are dropped. */
		function changed() {
			clearTimeout(timer);
			timer = setTimeout(async () => {
				asking += 1;
				const mine = asking;
				const told = await server.look(asked());
				if (mine !== asking || !root.open) return;
				draw(told || { error: lens.whyNot(), problems: {}, columns: [], parts: {}, rows: [], notes: [], count: 0 });
			}, LOOK_MS);
		}

		function draw(told) {
			const { problems = {} } = told;
			const started = questions.given();
			for (const [name, field] of Object.entries(fields)) field.tell(name === "name" && !field.input.value ? "" : problems[name]); // that it is to be named, the last line says
			setText(settingsWrong, problems.settings || "");
			scorers.tell(problems.score);
			shots.tell(problems.shots);
			questions.draw(told, started ? problems.questions : "");
			problem.hidden = !told.error;
			setText(problem, told.error || "");
			const wrong = Object.keys(problems).map((name) => CALLED[name] || name);
			keep.disabled = Boolean(wrong.length || told.error);
			known = told.count;
			if (problems.settings || problems.stop) more.open = true;
			setText(count, !started ? "Give it questions first." : wrong.length ? `To be put right: ${wrong.join(", ")}.` : `${told.count.toLocaleString("en")} question${told.count === 1 ? "" : "s"}.`);
			preview.hidden = !told.prompt;
			if (!told.prompt) return;
			number = told.prompt.number;
			setText(where, `question ${number + 1} of ${told.count.toLocaleString("en")}${told.prompt.tokens.length ? `, ${told.prompt.tokens.length.toLocaleString("en")} tokens` : ""}`);
			const turns = told.prompt.turns.flatMap((turn) => [el("b", {}, turn.role), `\n${turn.content}\n`]);
			prompt.replaceChildren(...(told.prompt.tokens.length ? drawTokens(told.prompt.tokens) : turns));
			setText(reference, [told.prompt.note, told.prompt.references.length ? `Reference: ${told.prompt.references.join(" \u00b7 ")}` : "No reference."].filter(Boolean).join(" "));
		}

		async function save() {
			keep.disabled = true;
			const told = await server.save(asked());
			keep.disabled = false;
			const error = !told ? lens.whyNot() : told.error;
			problem.hidden = !error;
			setText(problem, error || "");
			if (error) return problem.scrollIntoView({ block: "nearest" });
			dirty = false;
			root.close();
			saved(told.task);
		}

		root.addEventListener("input", (event) => event.target.dataset.own || touched());
		root.addEventListener("keydown", (event) => event.stopPropagation()); // number keys vote, and Escape stops, behind it

		/** Opens the form with a task, or an empty one. What was written for the same one and not saved is there again, but
		 * `anew`. A copy has no name yet, and none is kept. */
		function open(form, anew = false) {
			const key = form ? form.original : NEW;
			again.hidden = anew || !dirty || !key || key !== begun;
			if (!again.hidden) {
				if (!root.open) root.showModal();
				return changed();
			}
			begun = key;
			dirty = false;
			base = form || EMPTY;
			number = 0;
			setText(heading, base.original ? `Edit ${base.original}` : "New task");
			for (const [name, field] of Object.entries(fields)) field.input.value = base[name] || "";
			for (const [name, field] of settings) field.input.value = base.settings[name] ?? "";
			show.checked = base.show !== false;
			more.open = false;
			questions.set(base);
			scorers.set(base.score);
			shots.set(base.shots);
			problem.hidden = true;
			if (!root.open) root.showModal();
			changed();
		}

		return {
			root,
			open,
			/** Begins a task with the held-out rows of a run. */
			async fromRun(run) {
				open(null);
				await questions.takeRows({ run: run.name, split: "test" });
			},
		};
	};
})(window.LoraLens);
