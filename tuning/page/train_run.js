// The run on show: how it stands, its figures, charts, sample answers, log, and what can be done with it.
(function (lens) {
	const { el, setText } = lens;

	function button(label, kind, press) {
		const made = el("button", { type: "button", class: `ll-button ${kind || ""}` }, label);
		made.addEventListener("click", async () => {
			made.disabled = true;
			try {
				await press();
			} finally {
				made.disabled = false;
			}
		});
		return made;
	}
	lens.button = button;

	function line(name, points, style, options) {
		return { name, points, style, ...options };
	}

	/** The run's panels. `does` offers stop, resume, remove, compare; each returns a promise. */
	lens.buildRunView = function (does) {
		const name = el("h2", {});
		const state = el("span", { class: "ll-run-state" });
		const message = el("p", { class: "ll-notice", hidden: true });
		const other = el("p", { class: "ll-note", hidden: true });
		const last = el("pre", { class: "ll-last", hidden: true, tabindex: "0" });
		const bar = el("span", {});
		const progress = el("div", { class: "ll-progress", role: "progressbar", "aria-valuemin": "0", "aria-label": "Steps" }, bar);
		const steps = el("span", {});
		const eta = el("span", {});
		const figures = el("dl", { class: "ll-figures" });
		const settings = el("dl", { class: "ll-settings-list" });
		const command = el("code", {});
		const notes = el("input", { type: "text", class: "ll-notes", maxlength: "2000", placeholder: "Your notes on this run", "aria-label": "Your notes on this run" });
		const noteOf = el("small", { class: "ll-hint", hidden: true });
		let noted = { run: "", notes: "" }; // what stands in the field, and is written there, is of this run
		let kept = noted; // what is kept of the run on show
		notes.addEventListener("change", () => {
			if (noted.run === kept.run) kept = { ...kept, notes: notes.value };
			does.act("note", { run: noted.run, notes: notes.value });
		});
		notes.addEventListener("blur", showNotes);

		/** The notes of the run on show; while somebody writes, they go on writing of the run that they began with. */
		function showNotes(event) {
			const writing = !event && document.activeElement === notes;
			noteOf.hidden = !writing || noted.run === kept.run;
			setText(noteOf, `What you write here is kept with ${noted.run}.`);
			if (writing) return;
			noted = kept;
			notes.value = kept.notes;
		}
		const stop = button("Stop", "", () => does.stop(view.run));
		const resume = button("Resume", "", () => does.resume(view.run));
		const compare = button("Compare now", "ll-main", () => does.compare(view.run));
		const remove = el("button", { type: "button", class: "ll-button" }, "Delete\u2026");
		const sure = el("div", { class: "ll-sure", hidden: true });
		const losses = lens.buildChart("Loss", 220, "The curve begins with the first step.");
		const rates = lens.buildChart("Learning rate", 96, "No step yet.");
		const round = el("section", { class: "ll-after-votes", hidden: true });
		const curve = lens.buildChart("Score and forgetting, %", 160, "No checkpoint is scored yet.");
		const scored = el("ol", { class: "ll-waiting" });
		const how = el("p", { class: "ll-note" }, "Scored by ", el("code", {}, "python -m eval_prompts score --checkpoints RUN --task TASK"), ", or on the Score tab.");
		const scores = el("section", { class: "ll-scores", hidden: true }, curve.root, scored, how);
		const samples = lens.buildSamples();
		const take = lens.buildTakeAway(does, () => view.run);
		const log = lens.buildLog();
		const root = el(
			"div",
			{ class: "ll-run" },
			el(
				"section",
				{ class: "ll-panel" },
				el("div", { class: "ll-run-head" }, el("div", {}, name, state), el("div", { class: "ll-run-actions" }, compare, stop, resume, remove)),
				sure,
				message,
				other,
				round,
				notes,
				noteOf,
				last,
				progress,
				el("p", { class: "ll-steps" }, steps, eta),
				figures,
				losses.root,
				rates.root,
				scores,
				take.root,
				el("details", { class: "ll-more" }, el("summary", {}, "This run's settings"), settings, el("div", { class: "ll-command" }, command, lens.copyButton("Copy", () => command.textContent)))
			),
			samples.root,
			log.root
		);
		let view = null;

		remove.addEventListener("click", () => {
			sure.hidden = !sure.hidden;
			if (!sure.hidden) sure.querySelector("button").focus();
		});
		const drop = button("Delete it", "ll-danger", async () => {
			await does.remove(view.run);
			sure.hidden = true;
		});
		const keep = el("button", { type: "button", class: "ll-button" }, "Keep it");
		keep.addEventListener("click", () => {
			sure.hidden = true;
			remove.focus();
		});
		const question = el("span", {});
		sure.append(question, keep, drop);

		function settle(pairs, list, tags) {
			list.replaceChildren(...pairs.map(([label, words]) => el("div", {}, el(tags[0], {}, label), el(tags[1], {}, words))));
		}

		/** After learning from votes: the blind round against the adapter before, and what came of it so far. */
		function drawRound(next) {
			const told = next.after_votes;
			const key = JSON.stringify([next.run, told]);
			if (round.dataset.key === key) return;
			round.dataset.key = key;
			round.hidden = !told;
			if (!told) return;
			const go = button("Blind round", "ll-main", () => does.blindRound(next.run));
			const words = told.people || `Nobody has compared it with ${told.before} yet: ask its held-out questions blind, and vote.`;
			round.replaceChildren(el("p", {}, el("b", {}, `Is it better than ${told.before}? `), words), go);
		}

		function drawScores(next) {
			const lines = Object.entries(next.scores.lines);
			scores.hidden = !lines.length;
			curve.update(lines.map(([name, points], at) => line(name, points, name.startsWith("forgotten") ? "ll-validation" : `ll-line-${1 + (at % 6)}`, { dots: true })));
			scored.replaceChildren(
				...next.scores.rows.map((row) => {
					const use = row.can_use ? button("Use this one", "ll-small", () => does.useCheckpoint(next.run, row.step)) : null;
					return el("li", {}, el("span", {}, el("b", {}, `step ${row.step.toLocaleString("en")}`), row.best ? el("span", { class: "ll-best" }, "best") : null, el("small", {}, row.words)), use);
				})
			);
		}

		/** Shows a look at a run; what it leaves out is as it was. */
		function update(next) {
			if (next.fresh) {
				log.clear();
				samples.clear();
				sure.hidden = true;
				settle(next.settings, settings, ["dt", "dd"]);
				setText(command, next.command);
				kept = { run: next.run, notes: next.notes || "" };
				showNotes();
			}
			view = next;
			root.dataset.state = next.state;
			setText(name, next.run);
			setText(state, next.words);
			state.dataset.state = next.state;
			message.hidden = !next.message;
			message.dataset.level = next.state === "failed" ? "error" : "info";
			setText(message, next.message);
			last.hidden = !next.last_lines.length;
			setText(last, next.last_lines.join("\n"));
			progress.setAttribute("aria-valuemax", String(next.max_steps));
			progress.setAttribute("aria-valuenow", String(next.step));
			bar.style.width = `${Math.min(100, (100 * next.step) / next.max_steps)}%`;
			setText(steps, `step ${next.step.toLocaleString("en")} of ${next.max_steps.toLocaleString("en")}`);
			setText(eta, next.eta);
			settle(next.figures, figures, ["dt", "dd"]);
			stop.hidden = !next.can.stop;
			resume.hidden = !next.can.resume;
			remove.hidden = !next.can.delete;
			compare.hidden = !next.can.use;
			setText(other, next.other_base || "");
			other.hidden = !next.other_base;
			drawRound(next);
			take.update(next.can.use, next.export || {});
			setText(question, `Delete ${next.run} with its checkpoints and its adapter? This cannot be undone.`);
			if (next.charts) {
				losses.update([line("training", next.charts.loss, "ll-training", { band: true }), line("validation", next.charts.validation, "ll-validation", { dots: true })]);
				rates.update([line("learning rate", next.charts.learning_rate, "ll-training")]);
			}
			if (next.scores) drawScores(next);
			if (next.samples) samples.update(next.samples);
			log.add(next.log);
		}
		return { root, update };
	};
})(window.LoraLens);
