// The form that describes a run: a preset, its fields, checked by the server as one types, and what it will do.
(function (lens) {
	const { el, setText } = lens;
	const CHECK_MS = 150;

	function control(field) {
		const id = `ll-field-${field.name}`;
		const error = el("small", { class: "ll-wrong", id: `${id}-wrong`, role: "alert" });
		let input;
		if (field.control === "choice") input = el("select", { id }, ...field.choices.map((choice) => el("option", { value: choice }, choice)));
		else if (field.control === "switch") input = el("input", { id, type: "checkbox" });
		else input = el("input", { id, type: "text", inputmode: field.control === "number" ? "decimal" : null, autocomplete: "off", spellcheck: "false", placeholder: field.empty || null });
		const help = el("small", { class: "ll-help", id: `${id}-help` }, field.help);
		input.setAttribute("aria-describedby", `${error.id} ${help.id}`);
		const root = el("div", { class: `ll-field ll-${field.control}`, title: field.help }, el("label", { for: id }, field.label), input, error, help);
		return {
			root,
			input,
			get: () => (field.control === "switch" ? input.checked : input.value.trim()),
			set(value) {
				if (field.control === "switch") input.checked = value;
				else input.value = value;
			},
			tell(problem) {
				setText(error, problem || "");
				if (problem) input.setAttribute("aria-invalid", "true");
				else input.removeAttribute("aria-invalid");
			},
		};
	}

	/** The form; `does.start(preset, values)` is called with what is asked for. */
	lens.buildTrainForm = function (form, server, does) {
		const controls = Object.fromEntries(form.fields.map((field) => [field.name, control(field)]));
		const choices = form.presets.map((preset) => {
			const input = el("input", { type: "radio", name: "ll-preset", value: preset.name });
			input.addEventListener("change", () => choose(preset.name));
			return el("label", { class: "ll-preset" }, input, el("span", {}, el("b", {}, preset.name), el("small", {}, preset.about)));
		});
		const main = form.fields.filter((field) => field.main).map((field) => controls[field.name].root);
		const more = form.fields.filter((field) => !field.main).map((field) => controls[field.name].root);
		const summary = el("p", { class: "ll-note ll-does", role: "status" });
		const warning = el("p", { class: "ll-note ll-warning", role: "status" });
		const estimate = el("p", { class: "ll-note", role: "status" });
		const measure = lens.button("Measure this machine", "ll-small", async () => {
			const told = await server.calibrate(asked());
			tell(told ? told.error : lens.whyNot());
			check();
		});
		const command = el("code", {});
		const called = el("input", { id: "ll-field-name", type: "text", autocomplete: "off", spellcheck: "false", maxlength: "60", placeholder: "date and preset" });
		const start = lens.button("Start training", "ll-main", () => does.start({ ...asked(), name: called.value.trim() }));
		const problem = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const others = el("details", { class: "ll-more" }, el("summary", {}, "More settings"), el("div", { class: "ll-fields" }, ...more));
		const source = lens.buildDataSource(form, server, () => check());
		const closed = Boolean(form.closed);
		const queue = lens.buildQueue(server, () => ({ ...asked(), name: called.value.trim() }));
		const shell = el("details", { class: "ll-more" }, el("summary", {}, "The same from a command line"), el("div", { class: "ll-command" }, command, lens.copyButton("Copy", () => command.textContent)));
		const root = el(
			"section",
			{ class: "ll-panel ll-form" },
			el("h3", {}, "New run"),
			...(closed ? [el("p", { class: "ll-notice", "data-level": "info" }, form.closed)] : []),
			el("div", { class: "ll-presets", role: "radiogroup", "aria-label": "Preset" }, ...choices),
			source.root,
			el("div", { class: "ll-fields" }, ...main, el("div", { class: "ll-field ll-text", title: "What the run is called in the list; letters, digits, dots, hyphens and underscores" }, el("label", { for: "ll-field-name" }, "Name of the run"), called)),
			others,
			el("div", {}, summary, warning),
			el("div", { class: "ll-estimate", hidden: closed }, estimate, measure),
			el("div", { class: "ll-start", hidden: closed }, start),
			problem,
			...(closed ? [] : [queue.root]),
			shell
		);
		let preset = "";
		let timer = 0;
		let later = 0;
		let asking = 0;

		function asked() {
			const values = Object.fromEntries(Object.entries(controls).map(([name, each]) => [name, each.get()]));
			return { preset, values: { ...values, data: source.get() } };
		}

		function choose(name) {
			preset = name;
			const { values } = form.presets.find((each) => each.name === name);
			for (const [field, each] of Object.entries(controls)) each.set(values[field]);
			source.set(values.data);
			for (const choice of choices) choice.firstChild.checked = choice.firstChild.value === name;
			check();
		}

		/** How long it would take, or how to find out. While a measurement goes on it is asked for again. */
		function guess(told, wrong) {
			clearTimeout(later);
			measure.hidden = Boolean(wrong || told.estimate || told.measuring || told.error);
			if (told.measuring) later = setTimeout(check, 1500);
			const unknown = told.unmeasured ? `The measurement failed: ${told.unmeasured}` : "How long it takes here is not known yet: a few steps tell, in about half a minute.";
			setText(estimate, wrong || told.error ? "" : told.measuring ? "Measuring this machine with a few steps\u2026" : told.estimate || unknown);
		}

		/** Has the server say what is wrong and what the run would do. Answers that have been overtaken are dropped. */
		function check() {
			clearTimeout(timer);
			if (root.dataset.shut) return;
			timer = setTimeout(async () => {
				const number = ++asking;
				const told = await server.check(asked());
				if (!told || number !== asking || root.dataset.shut) return;
				const errors = told.errors || {};
				for (const [name, each] of Object.entries(controls)) each.tell(errors[name]);
				source.tell(errors.data || told.error);
				setText(command, told.command || "");
				source.stale();
				const wrong = Object.keys(errors).length;
				setText(summary, wrong ? `${wrong} field${wrong === 1 ? " needs" : "s need"} correcting before this can start.` : told.summary || "");
				setText(warning, told.warning || "");
				start.disabled = wrong > 0 || Boolean(told.error);
				guess(told, wrong);
				if (form.fields.some((field) => !field.main && errors[field.name])) others.open = true;
			}, CHECK_MS);
		}
		root.addEventListener("input", check);

		/** One line below the button, or none; it is brought into view. `level` is "error" or "info". */
		function tell(text, level = "error") {
			problem.hidden = !text;
			problem.dataset.level = level;
			setText(problem, text || "");
			if (text) problem.scrollIntoView({ block: "nearest" });
		}
		/** Shuts the form for those who may only watch. */
		async function ask() {
			const told = await server.may({});
			if (!told || told.train) {
				shell.open = closed;
				return;
			}
			for (const part of root.querySelectorAll("input, select, button")) part.disabled = true;
			clearTimeout(timer);
			setText(summary, `Here you can watch.${closed ? "" : " Training is for the owner of this app, who signs in under /owner."}`);
			root.dataset.shut = "true";
			does.shut();
		}
		source.knows(asked);
		choose("quick");
		ask();
		return { root, tell, check, queue };
	};
})(window.LoraLens);
