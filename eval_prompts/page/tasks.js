// The task picker above the question: what is asked, in which prompt, judged by what; and the owner's tools for tasks.
(function (lens) {
	const { el, setText } = lens;
	const KEY = "lora-lens.task";
	const SETTINGS = ["max_new_tokens", "temperature", "top_p", "seed"];
	const listeners = [];
	const touched = new Set(); // settings that the visitor has changed since they last chose a task

	/** What this browser asks: the name of a task ('' for the one that the owner chose), and the page of its questions. */
	lens.task = { name: "", page: 1, summary: null, anew: false };
	lens.onTask = (listener) => listeners.push(listener);

	const quoted = (text, most = 90) => `\u201c${text.length > most ? `${text.slice(0, most - 1)}\u2026` : text}\u201d`;
	const scorerName = (spec) => (typeof spec === "string" ? spec : Object.keys(spec)[0]);

	/** A task in one line: questions, prompt, scorers, settings. */
	function aboutWords(task) {
		const settings = task.settings || {};
		const heat = settings.temperature ? `temperature ${settings.temperature}` : "greedy";
		return [
			task.questions ? `${task.questions.toLocaleString("en")} question${task.questions === 1 ? "" : "s"}` : "no questions of its own",
			task.system ? `system prompt ${quoted(task.system.replace(/\s+/g, " "))}` : "no system prompt",
			task.user ? `user turn ${quoted(task.user.replace(/\s+/g, " "), 60)}` : "",
			task.score.length ? `judged by ${task.score.map(scorerName).join(", ")}` : "answers get no verdict",
			`at most ${settings.max_new_tokens} tokens, ${heat}`,
			task.show === false ? "hidden from visitors" : "",
			...(task.notes || []),
		]
			.filter(Boolean)
			.join(" \u00b7 ");
	}

	/** The settings of the task for their fields; those that the visitor has changed meanwhile stay as they are. */
	lens.taskSettings = function () {
		const settings = lens.task.anew ? lens.task.summary.settings : {};
		return SETTINGS.map((name) => (name in settings && !touched.has(name) ? { __type__: "update", value: settings[name] } : { __type__: "update" }));
	};
	for (const event of ["input", "click"]) {
		document.addEventListener(event, ({ target }) => {
			const field = event === "input" || target.closest?.("button") ? target.closest?.("[id^=ll-setting-]") : null;
			if (field) touched.add(field.id.slice("ll-setting-".length));
		});
	}

	/** Builds the picker inside `root`. */
	lens.mountTasks = function (root, props, server) {
		let told = { tasks: [], default: null, owner: false };
		let loading = 0; // how often the list was asked for
		let wanted = ""; // the task that the list chooses once it is here, if it is in it
		let pressed = false; // until then the button's words are those that the page was built with
		let applied = JSON.stringify(["", props.settings]); // the page was built with these
		const choice = el("select", { id: "ll-task-choice" });
		const about = el("p", { class: "ll-task-about" });
		const fit = el("p", { class: "ll-task-fit", hidden: true });
		const wrong = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const tools = el("div", { class: "ll-task-tools", hidden: true });
		const file = el("input", { type: "file", accept: ".yaml,.yml", class: "ll-offscreen", tabindex: "-1", "aria-hidden": "true" });
		const action = (label, act) => el("button", { type: "button", class: "ll-quiet", onclick: act }, label);
		const edit = action("Edit", () => open(choice.value));
		const copy = action("Copy as new", () => open(choice.value || lens.task.summary.name, true));
		const save = action("Export", async () => tell(await server.export({ task: choice.value || lens.task.summary.name }), (got) => {
			lens.download(got.name, got.text);
			say(got.remarks);
		}));
		const remove = action("Remove", async () => confirm(`Remove the task ${choice.value}?`) && tell(await server.remove({ task: choice.value }), () => load("")));
		const share = action("Ask everyone this", async () => tell(await server.use({ task: choice.value }), () => load("")));
		const unshare = action("Back to the Python probes", async () => tell(await server.use({ task: "" }), () => load("")));
		const rows = action("", () => drawer.fromRun(told.run));
		tools.append(action("New task\u2026", () => open("")), edit, copy, save, action("Import\u2026", () => file.click()), remove, share, unshare, rows, file);
		const drawer = lens.buildTaskForm(props, server, (name) => load(name));
		root.classList.add("ll-tasks");
		root.replaceChildren(el("div", { class: "ll-task-row" }, el("label", { for: choice.id }, "Task"), choice, tools), about, fit, wrong, drawer.root);

		function tell(got, then) {
			const error = !got ? lens.whyNot() : got.error;
			wrong.hidden = !error;
			setText(wrong, error || "");
			if (!error) then(got);
		}

		/** Sentences that are no error, where errors stand. */
		function say(sentences) {
			wrong.hidden = !sentences.length;
			setText(wrong, sentences.join(" "));
		}

		async function open(name, asNew = false) {
			if (!name) return drawer.open(null);
			tell(await server.form({ task: name }), ({ form }) => drawer.open(asNew ? { ...form, original: "", name: "" } : form));
		}

		/** Offers the adapter that was made for the task, or the task that the adapter was made for. */
		function drawFit(task) {
			const made = told.tasks.find((other) => other.fits);
			const words = el("span", {});
			const use = el("button", { type: "button", class: "ll-quiet" });
			fit.hidden = true;
			if (told.owner && told.ready && task.adapter && !task.fits) {
				setText(words, `An adapter was made for this task: ${task.adapter}.`);
				setText(use, "Use it");
				use.addEventListener("click", async () => {
					use.disabled = true;
					setText(use, "Loading\u2026");
					tell(await server.use_adapter({ task: choice.value }), () => lens.pollStatus?.());
					await load(choice.value, false);
				});
			} else if (made && !task.fits) {
				setText(words, `The adapter in use was made for the task ${made.title}.`);
				setText(use, "Ask that");
				use.addEventListener("click", () => {
					choice.value = made.name;
					choice.dispatchEvent(new Event("change"));
				});
			} else return fit.replaceChildren();
			fit.hidden = false;
			fit.replaceChildren(words, " ", use);
		}

		const chosen = () => told.tasks.find((task) => task.name === choice.value) || told.default;

		/** Makes the chosen task the one that is asked, and tells the page. */
		function apply() {
			const task = chosen();
			if (!task) return;
			const key = JSON.stringify([choice.value, task.settings]);
			const anew = key !== applied; // what a visitor has set stays until another task comes with its own settings
			applied = key;
			const own = Boolean(choice.value) && !task.built_in;
			lens.task = { name: choice.value, page: 1, summary: task, owner: told.owner, anew };
			setText(about, aboutWords(task));
			drawFit(task);
			about.title = task.system || "";
			edit.hidden = remove.hidden = !own;
			share.hidden = !choice.value;
			unshare.hidden = !told.default || told.default.name === "python";
			rows.hidden = !told.run;
			if (told.run) setText(rows, `Held-out rows of ${told.run.name}\u2026`);
			tools.hidden = !told.owner;
			const examples = document.getElementById("ll-examples");
			if (examples) examples.style.display = task.score.some((spec) => scorerName(spec) === "python") ? "" : "none";
			changed();
		}

		/** Has the button and the settings follow the task, and the empty board its questions. */
		function changed() {
			const asBuilt = !pressed && !lens.task.anew && !lens.task.name && lens.task.summary.questions === props.count && props.count <= told.size;
			if (!asBuilt) document.getElementById("ll-task-changed")?.click();
			pressed = pressed || !asBuilt;
			for (const listener of listeners) listener(lens.task);
		}
		lens.choosePage = function (page) {
			lens.task.page = page;
			lens.task.anew = false;
			changed();
		};
		lens.taskQuestions = (page, find) => server.questions({ task: lens.task.name, page, find });

		/** Reads the list again; `name` is chosen in it where it is there. Where somebody chose it just now, its settings
		 * are wanted, but for those that are changed before they are here. */
		async function load(name, byHand = true) {
			if (byHand) touched.clear();
			wanted = name;
			const mine = ++loading;
			const answer = await lens.asked(server.listed, {});
			if (mine !== loading) return; // a later call tells more
			tell(answer, (got) => {
				told = got;
				const option = (value, label) => el("option", { value, selected: value === wanted }, label);
				choice.replaceChildren(option("", told.default.title), ...told.tasks.map((task) => option(task.name, task.title)));
				choice.value = told.tasks.some((task) => task.name === wanted) ? wanted : "";
				wanted = choice.value;
				remember();
				apply();
				if (told.problems.length) say(told.problems);
			});
		}

		function remember() {
			try {
				localStorage.setItem(KEY, choice.value);
			} catch {
				// A browser that stores nothing begins with the usual task.
			}
		}

		function remembered() {
			try {
				return localStorage.getItem(KEY) || "";
			} catch {
				return "";
			}
		}

		/** Chooses a task and hides the names, as the blind round after a run asks for. */
		lens.beginBlindRound = async function (task) {
			await load(task);
			const box = document.querySelector("#ll-blind input[type=checkbox]");
			if (box && !box.checked) box.click();
		};

		choice.addEventListener("change", () => {
			touched.clear();
			wanted = choice.value;
			remember();
			apply();
		});
		file.addEventListener("change", async () => {
			const [picked] = file.files;
			file.value = "";
			if (!picked) return;
			let got = await lens.upload(picked);
			if (!got.error) got = await server.bring(got);
			tell(got, ({ task }) => load(task));
		});
		let seen = "";
		lens.onStatus((status) => {
			const key = `${status.adapter} ${status.owner} ${status.base}`;
			if (status.lost || key === seen) return;
			if (seen) load(wanted, false); // another adapter may be asked in another prompt
			seen = key;
		});
		load(remembered(), false);
	};
})(window.LoraLens);
