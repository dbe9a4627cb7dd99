// The Train tab: the form, the run on show, the history; it asks the server for news for as long as it is in view.
(function (lens) {
	const { el, setText } = lens;
	const LIST_MS = 5000;

	/** Opens a tab of the page by its name. */
	lens.openTab = function (name) {
		const tabs = [...document.querySelectorAll("#ll-tabs [role=tab]")];
		tabs.find((tab) => tab.textContent.trim() === name)?.click();
		scrollTo({ top: 0 });
	};

	/** Builds the Train tab inside `root`. */
	lens.mountTrain = function (root, props, server) {
		let chosen = null;
		let seen = {};
		let timer = 0;
		let looking = 0;
		let listed = 0;
		const notice = el("p", { class: "ll-notice", role: "alert", hidden: true });
		const startOne = "Choose a preset on the left and press \u201cStart training\u201d. Its log, its losses and an answer that changes while it learns appear here; you may close the page and come back.";
		const bringOne = "A run that is brought here appears with its log, its losses and its sample answers, and can be compared.";
		const empty = el("section", { class: "ll-panel ll-empty" }, el("h2", {}, "No run yet"), el("p", {}, props.form.closed ? bringOne : startOne));
		const view = lens.buildRunView({ stop: (run) => act("stop", { run }), resume: (run) => act("resume", { run }), remove, compare, useCheckpoint, blindRound, act, server, hub: props.form.hub, exports: props.form.exports });
		const form = lens.buildTrainForm(props.form, server, { start, shut: () => (root.dataset.watching = "true") });
		const history = lens.buildRunHistory(server, { show, act, compare });
		const live = el("div", { class: "ll-live" }, notice, empty, view.root);
		root.classList.add("ll-train");
		root.replaceChildren(el("div", { class: "ll-columns" }, form.root, live), history.root);
		view.root.hidden = true;

		function tell(text) {
			const news = text && text !== notice.textContent;
			notice.hidden = !text;
			setText(notice, text || "");
			if (news) notice.scrollIntoView({ block: "nearest" });
		}

		/** Calls the server; what it refuses is said above the run. Returns its answer, or null. */
		async function act(name, sent) {
			const answer = await server[name](sent);
			tell(answer ? answer.error : lens.whyNot());
			look();
			history.refresh();
			return answer && !answer.error ? answer : null;
		}

		/** Starts a run; how that went stands below the button, and the run comes into view. */
		async function start(asked) {
			form.tell("Starting\u2026 the first line of its log takes some seconds.", "info");
			const answer = await server.start(asked);
			if (answer?.run) {
				form.tell(`${answer.run} has started. Its log and losses are beside this form, on a phone below it.`, "info");
				await show(null);
				const { top } = view.root.getBoundingClientRect();
				if (top < 0 || top > 0.8 * innerHeight) view.root.scrollIntoView({ block: "start" }); // its head, however long both columns are
			} else form.tell(answer ? answer.error : lens.whyNot());
			lens.pollStatus?.();
			history.refresh();
		}

		async function remove(run) {
			if (await act("delete", { run })) show(null);
		}

		async function compare(run, against) {
			const answer = await act("use", { run, against: against || "" });
			if (!answer) return;
			lens.pollStatus?.();
			lens.clearBoard?.(`${run}${against ? ` against ${against}` : ""} answers from now on. Earlier comparisons are in the list below.`);
			lens.openTab("Compare");
		}

		async function blindRound(run) {
			const answer = await act("blind_round", { run });
			if (!answer) return;
			await lens.beginBlindRound?.(answer.task); // before the news of the other adapter, which has the tasks read again
			lens.pollStatus?.();
			lens.clearBoard?.(`${run} against the adapter before, names hidden: ask all ${answer.questions} held-out questions, and vote. The Results tab says what came of it.`);
			lens.openTab("Compare");
		}

		async function useCheckpoint(run, step) {
			if (!(await act("use_checkpoint", { run, step }))) return;
			lens.pollStatus?.();
			lens.clearBoard?.(`Step ${step} of ${run} answers from now on. Earlier comparisons are in the list below.`);
			lens.openTab("Compare");
		}

		/** Puts another run on show; null for the one that trains, or the newest. */
		function show(run) {
			chosen = run;
			seen = {};
			tell("");
			return look();
		}

		async function look() {
			clearTimeout(timer);
			const number = ++looking;
			const answer = await server.look({ run: chosen, seen });
			if (number !== looking) return;
			let wait = 4;
			if (!answer) tell(lens.whyNot());
			else if (answer.error) {
				tell(answer.error);
				if (chosen || seen.run) history.refresh();
				chosen = null;
				seen = {};
			} else {
				wait = answer.poll_seconds;
				draw(answer);
			}
			if (root.checkVisibility() && !document.hidden) timer = setTimeout(look, wait * 1000);
		}

		function draw(answer) {
			empty.hidden = Boolean(answer.run);
			view.root.hidden = !answer.run;
			if (answer.gone) tell(answer.gone);
			if (!answer.run) {
				if (seen.run) history.refresh();
				seen = {};
				return;
			}
			if (seen.run !== answer.run || answer.state !== seen.state) history.refresh(answer.run);
			else if (answer.state === "running" && Date.now() > listed + LIST_MS) {
				listed = Date.now();
				history.refresh(answer.run);
			}
			if (seen.run !== answer.run || answer.state !== seen.state) form.queue.refresh();
			seen = { ...answer.seen, state: answer.state };
			view.update(answer);
		}

		new IntersectionObserver((entries) => {
			if (!entries.some((entry) => entry.isIntersecting)) return;
			look();
			form.check();
			form.queue.refresh();
			history.refresh();
		}).observe(root);
		document.addEventListener("visibilitychange", () => !document.hidden && root.checkVisibility() && look());
	};
})(window.LoraLens);
