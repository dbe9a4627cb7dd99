// What is scored next (the owner's), all scorings so far, and two of them beside each other.
(function (lens) {
	const { el, setText } = lens;
	const NUMBERS = [
		["samples", "Answers to each question", "1"],
		["limit", "Only the first questions", "all"],
		["temperature", "Temperature", "the task's"],
		["max_new_tokens", "Most tokens", "the task's"],
		["seed", "Seed", "the task's"],
	];

	/** The form; `begun(name)` is called once a scoring has begun. */
	lens.buildScoreForm = function (server, begun) {
		const task = el("select", { "aria-label": "Task to score" });
		const battery = el("input", { type: "checkbox", checked: true });
		const batteryWords = el("span", {});
		const batteryLabel = el("label", { class: "ll-score-check" }, battery, batteryWords);
		const fields = Object.fromEntries(NUMBERS.map(([name, , hint]) => [name, el("input", { type: "text", inputmode: "decimal", placeholder: hint })]));
		const suite = el("input", { type: "text", placeholder: "/folder/mbpp.jsonl" });
		const file = el("input", { type: "file", accept: ".jsonl,.json,.gz", hidden: true, "aria-label": "A suite file" });
		const said = el("small", { class: "ll-note", role: "status" });
		const choose = lens.button("Upload a suite\u2026", "", () => file.click());
		file.addEventListener("change", upload);
		const problem = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const go = lens.button("Score", "ll-main", start);
		const more = el(
			"details",
			{ class: "ll-score-more" },
			el("summary", {}, "Settings"),
			el("div", { class: "ll-score-fields" }, ...NUMBERS.map(([name, words]) => el("label", {}, words, fields[name])), el("label", { class: "ll-score-wide" }, "A suite instead (questions with tests, as MBPP or HumanEval): a file on this machine, or", suite), el("div", { class: "ll-score-wide" }, choose, file, " ", said))
		);
		const root = el("section", { class: "ll-panel ll-score-form", hidden: true }, el("div", { class: "ll-score-line" }, el("label", {}, "Score both sides on ", task), batteryLabel, go), more, problem);
		let tasks = [];

		function tell(text) {
			problem.hidden = !text;
			setText(problem, text || "");
		}

		function chosen() {
			const one = tasks.find((each) => each.name === task.value);
			batteryLabel.hidden = Boolean(suite.value.trim());
			setText(batteryWords, one?.battery.length ? `and on ${one.battery.join(", ")} and neutral texts, to see what got worse` : "and neutral texts, to see what is forgotten");
		}
		task.addEventListener("change", chosen);
		suite.addEventListener("input", chosen);

		async function upload() {
			const picked = file.files[0];
			file.value = "";
			if (!picked) return;
			tell("");
			setText(said, `Uploading ${picked.name}\u2026`);
			let told = await lens.upload(picked);
			if (!told.error) told = await server.take_suite({ path: told.path }).catch(() => ({ error: lens.whyNot() }));
			setText(said, told.error ? "" : `${picked.name}: ${told.questions.toLocaleString("en")} questions`);
			if (told.error) return tell(told.error);
			suite.value = told.suite;
			chosen();
		}

		async function start() {
			tell("");
			const alone = Boolean(suite.value.trim());
			const wish = { task: task.value, suite: suite.value, battery: battery.checked && !alone };
			for (const [name, field] of Object.entries(fields)) wish[name] = field.value.trim();
			const told = await server.start(wish).catch(() => null);
			if (!told || told.error) return tell(told?.error || lens.whyNot());
			begun(told.scoring);
		}

		async function refresh(owner) {
			root.hidden = !owner;
			if (!owner) return;
			const told = await server.form({}).catch(() => null);
			if (!told || told.error) return;
			tasks = told.tasks;
			const kept = task.value || told.in_use;
			task.replaceChildren(...tasks.map((each) => el("option", { value: each.name, selected: each.name === kept }, `${each.title} (${each.questions.toLocaleString("en")})`)));
			chosen();
		}
		return { root, refresh };
	};

	/** All scorings; `show(name)` opens one. */
	lens.buildScoreHistory = function (server, show) {
		const body = el("tbody", {});
		const result = el("div", { class: "ll-score-against", role: "status" });
		const go = lens.button("Compare the two ticked", "", compare);
		const heads = ["", "Scored", "On", "Adapter", "Verdict"].map((name) => el("th", { scope: "col" }, name || el("span", { class: "ll-offscreen" }, "compare")));
		const root = el(
			"section",
			{ class: "ll-panel ll-score-history", hidden: true },
			el("h3", {}, "All scorings"),
			el("div", { class: "ll-scroll", tabindex: "0", role: "region", "aria-label": "All scorings" }, el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body)),
			go,
			result
		);
		let ticked = [];
		let drawn = "";

		async function compare() {
			const [one, other] = ticked;
			const told = await server.against({ one, other }).catch(() => null);
			if (!told || told.error || told.problem) return void result.replaceChildren(el("p", {}, told?.error || told?.problem || lens.whyNot()));
			const lines = told.tasks.map((each) => el("p", {}, el("strong", {}, each.title), ` ${each.words}`, el("small", {}, ` on ${each.of} questions, gained ${each.gained}, lost ${each.lost}${each.notes ? ` \u00b7 ${each.notes}` : ""}`)));
			result.replaceChildren(el("p", { class: "ll-note" }, `The tuned side of ${other} beside that of ${one}:`), ...lines);
		}

		function row(each, current) {
			const box = el("input", { type: "checkbox", "aria-label": `Compare ${each.scoring}` });
			box.checked = ticked.includes(each.scoring);
			box.addEventListener("change", () => {
				ticked = ticked.filter((name) => name !== each.scoring);
				if (box.checked) ticked = [...ticked, each.scoring].slice(-2);
				for (const other of body.querySelectorAll("input")) other.checked = ticked.includes(other.dataset.scoring);
				go.disabled = ticked.length !== 2;
			});
			box.dataset.scoring = each.scoring;
			const open = el("button", { type: "button", class: "ll-link", "aria-current": each.scoring === current ? "true" : null }, each.began);
			open.addEventListener("click", () => show(each.scoring));
			return el(
				"tr",
				{},
				el("td", {}, box),
				el("th", { scope: "row" }, open),
				el("td", {}, each.tasks.join(", "), each.samples > 1 ? el("small", {}, ` ${each.samples} samples`) : null),
				el("td", {}, each.adapter),
				el("td", {}, each.head ? el("strong", {}, `${each.head}. `) : el("span", { class: "ll-run-state", "data-state": each.state }, each.state), each.sentence)
			);
		}

		async function refresh(current) {
			const told = await server.history({}).catch(() => null);
			if (!told?.scorings) return;
			const key = JSON.stringify([told.scorings, current]);
			if (key === drawn) return;
			drawn = key;
			ticked = ticked.filter((name) => told.scorings.some((each) => each.scoring === name));
			root.hidden = !told.scorings.length;
			go.hidden = told.scorings.length < 2;
			go.disabled = ticked.length !== 2;
			body.replaceChildren(...told.scorings.map((each) => row(each, current)));
		}
		return { root, refresh };
	};
})(window.LoraLens);
