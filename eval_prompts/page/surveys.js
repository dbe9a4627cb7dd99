// Figures over a set of texts, and score and forgetting against strength: started by the owner, seen by everybody.
(function (lens) {
	const { el, setText } = lens;
	const LOOK_MS = 1000;
	const AGAIN_MS = 4000; // after a look that failed
	const LEAST_DRAWN = 5;
	const SVG = "http://www.w3.org/2000/svg";
	const FIGURES = [
		["kl", "KL(base || tuned), nats a token"], ["kl_percentile_50", "\u2026 median"], ["kl_percentile_90", "\u2026 90%"], ["kl_percentile_95", "\u2026 95%"], ["kl_percentile_99", "\u2026 99%"],
		["change_per_token", "change of log p, per token"], ["change_per_answer", "change of log p, per answer"], ["logprob_per_answer_base", "log p of an answer, base"], ["logprob_per_answer_tuned", "log p of an answer, tuned"],
		["same_top", "same first choice, share"], ["perplexity_base", "perplexity, base"], ["perplexity_tuned", "perplexity, tuned"],
	];
	const number = (value) => (value === null || value === undefined ? "\u221e" : Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : Number(value.toPrecision(4)).toLocaleString("en"));
	const within = (ends) => (ends ? `${number(ends[0])} to ${number(ends[1])}` : "");
	const code = (text) => el("code", {}, text);

	function table(caption, head, rows) {
		return el("div", { class: "ll-table-frame" }, el("table", { class: "ll-survey-table" }, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, at) => el(at ? "td" : "th", at ? {} : { scope: "row" }, cell)))))));
	}

	function drawSet(result) {
		const estimates = FIGURES.filter(([name]) => result.estimates[name]).map(([name, words]) => [words, number(result.estimates[name].value), within(result.estimates[name].interval)]);
		const parts = [
			el("p", {}, `${result.texts.toLocaleString("en")} texts of ${result.questions.toLocaleString("en")} questions, ${result.tokens.toLocaleString("en")} tokens${result.questions < 2 ? "; no intervals: there is one question only" : result.questions < LEAST_DRAWN ? "; 95% intervals by question, of percentiles none: there are too few" : "; 95% intervals by question"}`),
			table("What tuning changed", ["figure", "value", "95% interval"], estimates),
		];
		if (result.most_changed_questions) parts.push(table("Most changed questions", ["question", "mean size of the change of log p", "KL", "tokens"], result.most_changed_questions.map((one) => [one.question.replace(/\s+/g, " ").slice(0, 160), number(one.mean_size), one.kl === null ? "" : number(one.kl), String(one.tokens)])));
		if (result.most_changed_tokens) parts.push(table("Most changed tokens, by the sizes of all their changes together", ["token", "times seen", "mean change"], result.most_changed_tokens.map((one) => [code(JSON.stringify(one.token)), String(one.times), number(one.mean_change)])));
		if (result.ends_that_rose?.length) parts.push(table("Where the end of the answer became likelier, and how likely it is", ["after", "base", "tuned"], result.ends_that_rose.map((one) => [code(`\u2026${one.before.slice(-40).replace(/\n/g, "\u21b5")}`), lens.oddsWords(one.base), lens.oddsWords(one.tuned)])));
		for (const [note, count] of Object.entries(result.notes)) parts.push(el("p", { class: "ll-hint" }, `${count} texts: ${note}`));
		if (result.skipped?.length) parts.push(el("p", { class: "ll-hint" }, `Not read: ${result.skipped.length} texts; the first: ${result.skipped[0]}`));
		return parts;
	}

	const shape = (tag, attributes, ...children) => {
		const made = document.createElementNS(SVG, tag);
		for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
		made.append(...children);
		return made;
	};

	/** Score (full line, dots) and forgetting (broken line, squares) against strength; the best point has a ring. */
	function drawCurve(result) {
		const [width, height, left, right, top, bottom] = [640, 260, 48, 56, 16, 36];
		const points = result.points;
		const most = Math.max(...points.map((one) => one.strength), 1e-9);
		const forgotten = points.map((one) => one.forgetting?.value ?? null);
		const largest = Math.max(...forgotten.filter((value) => value !== null), 1e-9);
		const scores = points.filter((one) => one.score).flatMap((one) => [one.score.value, ...(one.score.interval || [])]);
		const least = Math.min(0, ...scores);
		const x = (strength) => left + ((width - left - right) * strength) / most;
		const y = (share) => height - bottom - (height - top - bottom) * share;
		const scoreTop = Math.max(1, ...scores);
		const ys = (score) => y((score - least) / (scoreTop - least));
		const line = (name, places) => shape("polyline", { class: name, points: places.map((place) => place.join(",")).join(" ") });
		const words = (text, at, anchor, name) => shape("text", { x: at[0], y: at[1], "text-anchor": anchor, class: name }, text);
		const parts = [shape("line", { class: "ll-axis", x1: left, x2: width - right, y1: y(0), y2: y(0) })];
		for (const one of points) parts.push(words(String(one.strength), [x(one.strength), height - bottom + 16], "middle", "ll-tick"));
		parts.push(words("strength", [(width - right + left) / 2, height - 4], "middle", "ll-tick"));
		for (const share of [0, 0.5, 1]) {
			parts.push(words(number(least + share * (scoreTop - least)), [left - 9, y(share) + 4], "end", "ll-tick ll-of-score"));
			parts.push(words(number(share * largest), [width - right + 9, y(share) + 4], "start", "ll-tick ll-of-loss"));
		}
		parts.push(line("ll-loss-line", points.flatMap((one) => (one.forgetting ? [[x(one.strength), y(one.forgetting.value / largest)]] : []))));
		parts.push(line("ll-score-line", points.flatMap((one) => (one.score ? [[x(one.strength), ys(one.score.value)]] : []))));
		for (const one of points) {
			if (one.forgetting) parts.push(shape("rect", { class: "ll-loss-dot", x: x(one.strength) - 4, y: y(one.forgetting.value / largest) - 4, width: 8, height: 8 }));
			if (!one.score) continue;
			const at = [x(one.strength), ys(one.score.value)];
			if (one.score.interval) parts.push(shape("line", { class: "ll-score-interval", x1: at[0], x2: at[0], y1: ys(one.score.interval[0]), y2: ys(one.score.interval[1]) }));
			parts.push(shape("circle", { class: "ll-score-dot", cx: at[0], cy: at[1], r: 5 }));
			if (one.strength === result.best) parts.push(shape("circle", { class: "ll-best", cx: at[0], cy: at[1], r: 10 }), words("best", [at[0], at[1] < top + 26 ? at[1] + 24 : at[1] - 14], "middle", "ll-tick ll-of-best"));
		}
		return shape("svg", { viewBox: `0 0 ${width} ${height}`, class: "ll-curve", role: "img", "aria-label": `Score and forgetting at ${points.length} strengths${result.best === null ? "" : `; the best is ${result.best}`}; the table below has the figures` }, ...parts);
	}

	function curveParts(result, keep) {
		const lacking = result.points.some((one) => one.not_scored);
		const rows = result.points.map((one) => [
			`${one.strength}${one.strength === result.best ? " (best)" : ""}`,
			one.score ? number(one.score.value) : "no score",
			one.score ? within(one.score.interval) : "",
			...(lacking ? [String(one.not_scored || "")] : []),
			one.forgetting ? number(one.forgetting.value) : "not known",
			one.forgetting ? within(one.forgetting.interval) : "",
		]);
		const parts = [
			el("p", {}, `${result.task}: ${result.questions} questions at each strength. `, el("span", { class: "ll-key-score" }, "\u25cf score"), " \u00b7 ", el("span", { class: "ll-key-loss" }, "\u25a0 forgotten: KL(base || tuned) on general questions, nats a token")),
			drawCurve(result),
			table("Score and forgetting against strength", ["strength", "score", "95% interval", ...(lacking ? ["without a score"] : []), "KL", "95% interval"], rows),
		];
		if (result.tied) parts.push(el("p", { class: "ll-hint" }, "The best point's interval overlaps others: more questions would be needed to tell them apart."));
		for (const note of new Set(result.points.flatMap((one) => one.notes))) parts.push(el("p", { class: "ll-hint" }, note));
		if (keep && result.best !== null && result.best !== 1) {
			const button = el("button", { type: "button", class: "ll-go" }, `Use strength ${result.best} from now on`);
			const said = el("span", { class: "ll-hint", role: "status" });
			button.addEventListener("click", async () => setText(said, await keep()));
			parts.push(el("p", {}, button, " ", said));
		}
		return parts;
	}

	/** The section of the Lens tab. */
	lens.buildSurveys = function (server) {
		const form = el("div", { class: "ll-survey-form", hidden: true });
		const said = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const state = el("p", { class: "ll-hint", role: "status" });
		const bar = el("progress", { class: "ll-survey-bar", max: "1", hidden: true, "aria-label": "How far the survey is" });
		const stop = el("button", { type: "button", class: "ll-go", hidden: true }, "Stop");
		const found = el("div", { class: "ll-survey-found" });
		const chosen = el("select", { "aria-label": "Surveys that are kept" });
		const older = el("span", { class: "ll-hint" });
		const kept = el("p", { class: "ll-lens-do", hidden: true }, "Kept: ", chosen, older);
		let name = "";
		let drawn = "";
		let formed = false;
		let timer = 0;
		let looks = 0;
		let running = false; // whether the survey on show was at work when it was last heard of

		function say(words) {
			said.hidden = !words;
			setText(said, words || "");
		}
		async function start(wish) {
			const begun = await lens.asked(server.start_survey, wish);
			say(begun.error);
			if (begun.error) return;
			name = begun.name;
			running = true;
			look();
		}
		async function buildForm() {
			formed = true;
			const told = await lens.asked(server.survey_form, {});
			if (told.error) return say(told.error);
			const source = el("select", { id: "ll-survey-source" }, ...told.tasks.map((task) => el("option", { value: `task ${task.name}` }, `${task.title} (${task.questions.toLocaleString("en")} questions)`)), el("option", { value: `data ${told.held_out}` }, "the held-out rows of the embedded data"), el("option", { value: "other" }, "another data set, or a suite's file"));
			source.value = `task ${told.in_use}`;
			const other = el("input", { type: "text", id: "ll-survey-other", placeholder: "a data set's name, or a file of questions with solutions", hidden: true, "aria-label": "The data set or file" });
			const limit = el("input", { type: "number", id: "ll-survey-limit", min: "1", value: "50" });
			const answers = el("input", { type: "checkbox" });
			const strengths = el("input", { type: "text", id: "ll-survey-strengths", value: told.strengths.join(", ") });
			source.addEventListener("change", () => (other.hidden = source.value !== "other"));
			function wish(kind) {
				const [what, ...rest] = source.value.split(" ");
				const chosenSet = source.value === "other" ? { [/\.jsonl?(\.gz)?$|\.parquet$|\.csv$/.test(other.value) ? "suite" : "data"]: other.value } : { [what]: rest.join(" ") };
				return { kind, ...chosenSet, limit: Number(limit.value) || null, answers: answers.checked, strengths: strengths.value };
			}
			const button = (words, kind) => el("button", { type: "button", class: "ll-read", onclick: () => start(wish(kind)) }, words);
			form.replaceChildren(
				el("p", { class: "ll-lens-do" }, el("label", { for: source.id }, "Over"), source, other, el("label", { for: limit.id }, "at most"), limit, "questions"),
				el("p", { class: "ll-lens-do" }, button("Measure the set", "set"), el("label", { class: "ll-check" }, answers, "read both sides' own answers, not the references")),
				el("p", { class: "ll-lens-do" }, button("Draw the curve of strength", "curve"), el("label", { for: strengths.id }, "at"), strengths)
			);
		}
		async function keepBest(survey) {
			const answer = await lens.asked(server.use_best, { name: survey });
			if (!answer.error) lens.pollStatus?.();
			return answer.error || `From the next answer on: ${answer.adapter}. The panel behind its name keeps it as an adapter of its own.`;
		}
		function draw(view, owner) {
			running = view.state === "running";
			bar.hidden = stop.hidden = !running;
			stop.hidden = !running || !owner;
			if (running) {
				if (view.total) bar.value = view.done / view.total;
				else bar.removeAttribute("value");
			}
			const what = { set: "Figures over", curve: "Curve of strength over" }[view.kind];
			const words = { running: `${view.done} of ${view.total || "?"} ${view.words}`, finished: "finished", stopped: "stopped", failed: "failed" }[view.state];
			setText(state, view.name ? [`${what} ${view.about}`, view.adapter, words, view.problem, ...view.notes].filter(Boolean).join(" \u00b7 ") : "Nothing has been measured yet.");
			const key = `${view.name} ${view.state}`;
			if (drawn === key) return;
			drawn = key;
			found.replaceChildren(...(view.result ? (view.kind === "set" ? drawSet(view.result) : curveParts(view.result, owner ? () => keepBest(view.name) : null)) : []));
		}
		async function look() {
			clearTimeout(timer);
			const mine = ++looks;
			const view = await lens.asked(server.survey, { name });
			if (mine !== looks) return; // another survey was chosen meanwhile, or this one was asked for again
			if (view.error) {
				setText(state, view.error);
				if (running && root.isConnected) timer = setTimeout(look, AGAIN_MS);
				return;
			}
			form.hidden = !view.owner;
			if (view.owner && !formed) buildForm();
			kept.hidden = view.kept.length < 2 && !view.unreadable;
			chosen.replaceChildren(...view.kept.map((one) => el("option", { value: one.name, selected: one.name === view.survey.name }, `${one.name} \u00b7 ${one.about}`)));
			const more = [view.older && `${view.older.toLocaleString("en")} older, by their names in the data folder's surveys/`, view.unreadable && `${view.unreadable} that cannot be read: the log names them`];
			setText(older, more.some(Boolean) ? `and ${more.filter(Boolean).join(", and ")}` : "");
			draw(view.survey, view.owner);
			if (running && root.isConnected) timer = setTimeout(look, LOOK_MS);
		}
		chosen.addEventListener("change", () => {
			name = chosen.value;
			look();
		});
		stop.addEventListener("click", async () => say((await lens.asked(server.stop_survey, {})).error));
		const root = el(
			"section",
			{ class: "ll-surveys", "aria-label": "Figures over many questions" },
			el("h2", {}, "Over many questions"),
			el("p", { class: "ll-hint" }, "What tuning changed over a whole set of texts, and a task's score and what is forgotten against the adapter's strength. It waits for everybody who asks."),
			form,
			said,
			el("p", { class: "ll-lens-do" }, bar, stop),
			state,
			kept,
			found
		);
		look();
		return root;
	};
})(window.LoraLens);
