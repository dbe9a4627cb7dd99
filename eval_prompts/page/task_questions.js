// Where a new task's questions come from: pasted, a file, or the held-out rows of data; and which column is what.
(function (lens) {
	const { el, setText } = lens;
	const PASTE_MS = 500;
	const PASTED = "what was pasted";
	const TYPES = ".csv,.tsv,.jsonl,.ndjson,.json,.parquet,.arrow,.feather,.xlsx,.gz,.zst";
	const PARTS = [
		["question", "Question"],
		["answer", "Reference answer"],
		["id", "Id"],
		["title", "Title"],
		["messages", "Conversation"],
		["turns", "Further turns"],
		["tags", "Tags"],
		["checks", "Checks"],
	];
	const RARE = new Set(["messages", "turns", "tags", "checks"]); // shown once a column is taken for them

	/** The part of the form; `changed()` is called for another set, `filled(told)` when data brings more than questions. */
	lens.buildTaskQuestions = function (server, changed, filled) {
		const paste = el("textarea", { rows: "4", spellcheck: "false", "data-own": "yes", placeholder: "One question a line, or a table with a header:\nquestion,answer\nWhat is the capital of Mali?,Bamako" });
		const field = lens.taskField("questions", "Questions", paste);
		const file = el("input", { type: "file", accept: TYPES, class: "ll-offscreen", tabindex: "-1", "aria-hidden": "true", "data-own": "yes" });
		const upload = el("button", { type: "button", onclick: () => file.click() }, "Upload a file\u2026");
		const known = el("div", { class: "ll-task-sources", hidden: true });
		const choose = el("button", { type: "button", "aria-expanded": "false", onclick: () => offer(known.hidden) }, "From a data set\u2026");
		const said = el("small", { class: "ll-note", role: "status" });
		const mapping = el("div", { class: "ll-task-columns" });
		const table = el("div", { class: "ll-task-rows", tabindex: "0" });
		const root = el("section", { class: "ll-task-questions" }, field.root, el("div", { class: "ll-task-ways" }, upload, choose, file, said), known, mapping, table);
		let questions = null;
		let columns = {};
		let origin = "";
		let timer = 0;
		let sending = 0;

		function use(told, words) {
			if (!told || told.error) return field.tell(told ? told.error : lens.whyNot());
			questions = { file: told.file };
			columns = {};
			origin = words;
			field.tell("");
			filled(told);
			changed();
		}

		async function keep(picked, words) {
			sending += 1;
			const mine = sending;
			setText(said, `reading ${words}\u2026`);
			let told = await lens.upload(picked);
			if (!told.error) told = await server.take_file(told);
			if (mine !== sending) return;
			setText(said, "");
			use(told, told?.file?.endsWith("/pasted.jsonl") ? "Read as one question a line" : words === PASTED ? "Read as a table" : words);
		}

		paste.addEventListener("input", (event) => {
			event.stopPropagation();
			clearTimeout(timer);
			timer = setTimeout(() => {
				if (paste.value.trim()) return keep(new File([paste.value], "pasted.txt", { type: "text/plain" }), PASTED);
				questions = null;
				columns = {};
				origin = "";
				sending += 1;
				field.tell("");
				changed();
			}, PASTE_MS);
		});
		file.addEventListener("change", () => {
			const [picked] = file.files;
			file.value = "";
			if (!picked) return;
			if (!TYPES.split(",").some((ending) => picked.name.toLowerCase().endsWith(ending))) return field.tell(`${picked.name} is not a file of questions: use one of ${TYPES.replaceAll(",", ", ")}.`);
			paste.value = "";
			keep(picked, picked.name);
		});

		/** Opens or closes the list of data whose held-out rows can be asked. */
		async function offer(open) {
			known.hidden = !open;
			choose.setAttribute("aria-expanded", String(open));
			if (!open) return;
			known.replaceChildren(el("small", { role: "status" }, "looking\u2026"));
			const told = (await server.sources({})) || { error: lens.whyNot() };
			if (told.error) return known.replaceChildren(el("small", { class: "ll-wrong" }, told.error));
			const split = el("select", { id: "ll-task-split", "data-own": "yes" }, ...told.splits.map((name) => el("option", { value: name }, { test: "the test rows, never trained on", validation: "the validation rows", both: "both" }[name])));
			const entry = (row) => el("button", { type: "button", class: "ll-data-source", onclick: () => takeRows({ ...row, split: split.value }) }, el("b", {}, row.label), " ", el("small", {}, row.about));
			known.replaceChildren(el("label", { for: split.id }, "Held-out rows: ", split), ...told.sources.map(entry), told.unread ? el("small", {}, told.unread) : "");
		}

		async function takeRows(row) {
			setText(said, "reading the data\u2026");
			const told = await server.take_rows(row);
			setText(said, "");
			if (told && !told.error) {
				offer(false);
				paste.value = "";
			}
			use(told, told && !told.error ? [`${told.count.toLocaleString("en")} held-out rows`, ...told.notes].join(". ") : "");
		}

		/** Which column is which part, a guess to be corrected, and the first rows. */
		function draw(told, wrong) {
			field.tell(wrong);
			const names = told.columns || [];
			const options = (part) => ["", ...names].map((name) => el("option", { value: name, selected: name === (told.parts[part] || "") }, name || "none"));
			const parts = names.length ? PARTS.filter(([part]) => !RARE.has(part) || told.parts[part] || part in columns) : [];
			const focused = mapping.contains(document.activeElement) ? document.activeElement.ariaLabel : "";
			const selects = parts.map(([part, label]) => {
				const select = el("select", { "data-own": "yes", "aria-label": `Column of: ${label}` }, ...options(part));
				select.addEventListener("change", () => {
					columns = { ...told.parts, ...columns, [part]: select.value };
					changed();
				});
				return el("label", {}, el("span", {}, label), select);
			});
			mapping.replaceChildren(...selects);
			for (const select of mapping.querySelectorAll("select")) if (focused && select.ariaLabel === focused) select.focus();
			const rows = told.rows || [];
			const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
			table.hidden = !rows.length;
			table.replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...names.map((name) => el("td", {}, row[name] || "")))))));
			setText(said, [origin, ...(told.notes || [])].filter(Boolean).join(". "));
		}

		return {
			root,
			draw,
			takeRows,
			given: () => Boolean(questions),
			get: () => ({ questions, columns }),
			set(form) {
				questions = form.questions;
				columns = form.columns || {};
				origin = form.questions ? "The questions of the task stay; paste or upload others to replace them." : "";
				paste.value = "";
				known.hidden = true;
				sending += 1;
				draw({ columns: [], parts: {}, rows: [] }, "");
			},
		};
	};
})(window.LoraLens);
