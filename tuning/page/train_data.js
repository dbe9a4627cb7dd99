// Where a run's data comes from: the embedded questions, an uploaded file, a table, or a name; and what is trained of it.
(function (lens) {
	const { el, setText } = lens;
	const TABLE = /^\s*(duckdb|md|motherduck):/i;
	const CONDITION = /[?&]where=([\s\S]*)$/;

	/** A row as the model sees it; the two answers of a preference pair stand apart, each behind the question. */
	function sampleArticle(spans, index) {
		const root = el("article", {}, el("h4", {}, `Sample ${index + 1}`));
		let text = null;
		let before = null;
		for (const [words, trained, part = ""] of spans) {
			if (part !== before) {
				text = el("pre", { tabindex: "0" });
				if (part) root.append(el("h5", {}, part));
				root.append(text);
				before = part;
			}
			text.append(trained ? el("mark", {}, words) : words);
		}
		return root;
	}

	/** Brings the end of the question and the start of the answer into a sample's window. */
	function scrollToTrained(text) {
		const trained = text.querySelector("mark");
		if (trained) text.scrollTop += trained.getBoundingClientRect().top - text.getBoundingClientRect().top - text.clientHeight / 3;
	}

	/** The data field; `changed()` is called when another source is chosen. */
	lens.buildDataSource = function (form, server, changed) {
		const name = el("input", { id: "ll-field-data", type: "text", autocomplete: "off", spellcheck: "false", "aria-describedby": "ll-data-wrong" });
		const where = el("input", { id: "ll-field-where", type: "text", autocomplete: "off", spellcheck: "false", placeholder: "QuestionInput = ''", "aria-describedby": "ll-data-wrong" });
		const rows = el("div", { class: "ll-field", hidden: true }, el("label", { for: "ll-field-where" }, "Only rows where (SQL, may be empty)"), where);
		const known = el("div", { class: "ll-data-known", id: "ll-data-known", hidden: true });
		const choose = lens.button("Choose\u2026", "", () => offer(known.hidden));
		const file = el("input", { type: "file", accept: form.types.join(","), class: "ll-offscreen", tabindex: "-1", "aria-hidden": "true" });
		const upload = lens.button("Upload a file\u2026", "", () => file.click());
		const look = lens.button("Preview", "", () => preview());
		const wrong = el("small", { class: "ll-wrong", id: "ll-data-wrong", role: "alert" });
		const said = el("small", { class: "ll-hint", role: "status" });
		const facts = el("p", { class: "ll-note ll-data-facts" });
		const samples = el("div", { class: "ll-data-samples" });
		const columns = el("div", { class: "ll-data-columns" });
		const aims = el("span", {});
		const legend = el("p", { class: "ll-note ll-marked" }, "Only ", el("mark", {}, "the marked tokens"), aims, "; the rest is what they answer.");
		const panel = el("details", { class: "ll-more ll-preview", hidden: true, open: true }, el("summary", {}, "What the model sees"), facts, legend, samples, columns);
		const root = el(
			"div",
			{ class: "ll-data" },
			el("div", { class: "ll-field" }, el("label", { for: "ll-field-data" }, "Data"), name),
			rows,
			wrong,
			el("div", { class: "ll-data-tools" }, choose, upload, look, file, said),
			known,
			el("small", { class: "ll-hint" }, `${form.embedded.join(", ")} are embedded. Or a JSONL, JSON, CSV, TSV, Parquet, Arrow or Excel file (text also .gz or .zst) of at most ${form.upload_mb} MB, a folder or .zip of such files, a Hub data set (OWNER/NAME), or a table (duckdb:FILE?table=TABLE, md:DATABASE?table=TABLE).`),
			panel
		);
		let details = () => ({});

		/** A table is named and its rows are chosen in two fields. */
		function split(value) {
			const table = TABLE.test(value);
			rows.hidden = !table;
			where.value = (table && CONDITION.exec(value)?.[1]) || "";
			name.value = table ? value.replace(CONDITION, "") : value;
		}
		name.addEventListener("input", () => (rows.hidden = !TABLE.test(name.value)));
		name.addEventListener("change", () => CONDITION.test(name.value) && split(name.value));

		function joined() {
			const source = name.value.trim();
			const condition = where.value.trim();
			if (rows.hidden || !condition || CONDITION.test(source)) return source;
			return `${source}${source.includes("?") ? "&" : "?"}where=${condition}`;
		}

		function entry(source, label, hint) {
			const pick = () => {
				offer(false);
				split(source);
				changed();
				choose.focus();
			};
			return el("button", { type: "button", class: "ll-data-source", title: source, onclick: pick }, el("b", {}, label), el("small", {}, hint));
		}

		/** Opens or closes the list of what is there. */
		async function offer(open) {
			known.hidden = !open;
			choose.setAttribute("aria-expanded", String(open));
			if (!open) return;
			known.replaceChildren(el("small", { role: "status" }, "looking\u2026"));
			const told = (await server.sources({})) || { error: lens.whyNot() };
			const tables = (told.tables || []).map((table) => entry(table.name, table.table, `table, ${table.rows.toLocaleString("en")} rows`));
			const uploads = (told.uploads || []).map((path) => entry(path, path.split(/[\\/]/).pop(), "uploaded"));
			const missing = told.error || told.unread || (tables.length ? "" : "python -m tuning ingest loads data sets into tables, which are then offered here.");
			known.replaceChildren(...form.embedded.map((set) => entry(set, set, "embedded")), ...tables, ...uploads, el("small", {}, missing));
		}
		choose.setAttribute("aria-expanded", "false");
		choose.setAttribute("aria-controls", known.id);

		let previewed = "";
		let refused = null;

		/** What a preview has found wrong stays on the page for as long as the settings that it depends on do. */
		function refuse(words, settingsOf) {
			refused = words ? { words, settingsOf, settings: settingsOf() } : null;
			setText(wrong, words);
		}
		const reading = () => JSON.stringify(["data", "columns", "encoding"].map((field) => details().values?.[field]));
		const everything = () => JSON.stringify(details());

		/** Says that a preview's counts are of other settings than the form's, such as how often each row is met. */
		function stale() {
			if (panel.hidden || JSON.stringify(details()) === previewed) return;
			setText(facts, "The settings have changed since: press Preview to count again.");
		}

		/** Every column with the role it has, to be corrected. */
		function mapping(told) {
			const chosen = (told.columns || []).map(([column, role]) => {
				const known = told.roles.includes(role) ? role : "";
				const options = ["", ...told.roles].map((value) => el("option", { value, selected: value === known }, value || "not used"));
				return [column, el("select", { "aria-label": `Role of the column ${column}` }, ...options)];
			});
			if (!chosen.length) return columns.replaceChildren();
			const use = lens.button("Use these roles", "", () => {
				const roles = chosen.filter(([, select]) => select.value).map(([column, select]) => `${select.value}=${column}`);
				const field = document.getElementById("ll-field-columns");
				if (!field) return;
				field.value = roles.join(",");
				field.dispatchEvent(new Event("input", { bubbles: true }));
				field.dispatchEvent(new Event("change", { bubbles: true }));
				preview();
			});
			const rows = chosen.map(([column, select]) => el("label", { class: "ll-data-column" }, el("code", {}, column), select));
			columns.replaceChildren(el("h4", {}, "Columns and their roles"), el("div", { class: "ll-data-roles" }, ...rows), use);
		}

		async function preview() {
			setText(said, "reading and encoding\u2026");
			const asked = details();
			previewed = JSON.stringify(asked);
			const told = await server.preview(asked);
			setText(said, "");
			panel.hidden = !told || Boolean(told.error);
			if (!told) return setText(wrong, lens.whyNot());
			if (told.error) return refuse(told.error, everything);
			refuse(told.wrong, reading);
			setText(facts, told.facts || "Say below which column is which, then press Use these roles.");
			mapping(told);
			legend.hidden = !told.samples.length;
			const pairs = told.samples.some((spans) => spans.some(([, , part]) => part));
			setText(aims, pairs ? " count: the chosen are made likelier than the rejected" : " are trained");
			samples.replaceChildren(...told.samples.map(sampleArticle));
			panel.open = true;
			for (const text of samples.querySelectorAll("pre")) scrollToTrained(text);
		}

		file.addEventListener("change", async () => {
			const [picked] = file.files;
			file.value = "";
			if (!picked) return;
			setText(wrong, "");
			if (picked.size > form.upload_mb * 2 ** 20) return setText(wrong, `${picked.name} has ${Math.ceil(picked.size / 2 ** 20).toLocaleString("en")} MB; at most ${form.upload_mb} MB are taken.`);
			setText(said, `uploading ${picked.name}\u2026`);
			let told = await lens.upload(picked);
			if (!told.error) told = (await server.keep_upload(told)) || { error: lens.whyNot() };
			setText(said, "");
			if (told.error) return setText(wrong, told.error);
			split(told.data);
			changed();
			await preview();
		});

		return {
			root,
			get: joined,
			set(value) {
				split(value);
				panel.hidden = true;
				setText(wrong, "");
			},
			tell(problem) {
				if (problem !== undefined) setText(wrong, problem);
				else if (!name.value.trim()) setText(wrong, "name a data source");
				else setText(wrong, refused && refused.settings === refused.settingsOf() ? refused.words : "");
			},
			stale,
			/** `read()` gives the form's other fields, which decide what is cut off. */
			knows: (read) => (details = read),
		};
	};
})(window.LoraLens);
