// The Compare tab below its question bar: notice, tool bar, rows, and the visitor's earlier comparisons.
(function (lens) {
	const { el, setText } = lens;
	const { when, waitingWords, outcome, drawTally, frameOf, toggle } = lens.boardParts;
	const CHECK_MS = 400;
	const RETRY_MS = 3000; // after a call that failed

	/** Builds the board inside `root`; `props.value` holds the comparison the server streams. */
	lens.mountBoard = function (root, props, watch, server) {
		let view = null;
		let rows = [];
		let checkTimer = 0;
		const votes = {}; // by pair: what this visitor said and what it revealed, over and above what the server streams
		let drawnId = null;
		let stale = false; // whether there is news that is not drawn yet
		let frame = 0;

		const problem = el("div", { class: "ll-notice", role: "alert", hidden: true });
		const notice = el("div", { class: "ll-notice", role: "status", hidden: true });
		const spoken = el("div", { class: "ll-offscreen", "aria-live": "polite" });
		const title = el("h2", {});
		const about = el("p", {});
		const tally = el("p", { class: "ll-tally" });
		const list = el("div", { class: "ll-rows" });
		const nothing = el("p", { class: "ll-nothing" }, "Every answer is the same on both sides. Clear the filter to read them.");
		const history = lens.buildHistory(
			() => view?.id,
			(entry) => {
				if (view?.running) return showNotice("info", "Both models are still writing: wait for them or press Stop.");
				show(entry);
				check();
				root.scrollIntoView({ block: "start" });
			}
		);
		const onlyDiffering = toggle("Only rows whose answers differ", "only-differing", (on) => (list.dataset.filter = on ? "differs" : "all"));
		const tools = el(
			"div",
			{ class: "ll-tools" },
			el("div", { class: "ll-about" }, title, about, tally),
			onlyDiffering,
			toggle("Full height", "full-height", (on) => (list.dataset.height = on ? "full" : "fixed"))
		);
		const empty = el("div", { class: "ll-empty" });
		root.classList.add("ll-board");
		const asked = lens.buildAsked(server, (other) => {
			show({ ...other, running: false });
			check();
		});
		root.replaceChildren(problem, notice, spoken, empty, tools, asked.root, list, nothing, history.root);
		const drawEmpty = lens.buildEmpty(empty);
		lens.onTask(drawEmpty);
		drawEmpty();

		/** What the visitor did to a pair: their vote, and what it revealed. */
		function merge(row) {
			const whole = votes[lens.WHOLE + row.pair];
			if (whole) row.wholeVote = whole.vote;
			const told = lens.turnsOf(view, row).flatMap((other) => [votes[other.pair], votes[lens.WHOLE + other.pair]]).find((vote) => vote?.reveals);
			if (told && !row.names) {
				row.names = told.reveals.names;
				row.wasHidden = row.byThread = true;
				for (const side of Object.values(row.sides)) side.verdict ||= { checking: true, badges: [] };
			}
			const own = votes[row.pair];
			if (!own) return;
			row.vote = own.vote;
			if (!own.reveals) return;
			if (own.reveals.change !== undefined) row.change = own.reveals.change;
			row.wasHidden = own.reveals.blind;
			if (row.names && !row.byThread) return;
			row.byThread = false;
			row.names = own.reveals.names;
			for (const [place, told] of Object.entries(own.reveals.sides)) Object.assign(row.sides[place], told);
		}

		/** Takes the server's word on a vote into the view and, once nothing streams any more, into the history. */
		function settle(pair, change) {
			votes[pair] = { ...votes[pair], ...change };
			if (!view?.rows.some((row) => row.pair === pair || lens.WHOLE + row.pair === pair)) return;
			view.rows.forEach(merge);
			if (!view.running) lens.history.save(view);
			show(view);
			asked.refresh(view);
			check();
		}

		let kept = null; // what stood here when something was asked further: after a restart the server no longer has it
		let joinedId = null;

		const voting = {
			further(pair, question, basis) {
				if (lens.busy) return;
				if (view.id !== joinedId) kept = view;
				lens.further = { question, which: [lens.task.name, lens.task.page, { pair, basis, id: view.id, page: view.asked?.page || 1 }] };
				document.getElementById("ll-further")?.click();
			},
			reasons: props.reasons || [],
			tokens: (wish) => server.tokens(wish),
			whatIf: (wish) => server.what_if(wish),
			async send(pair, choice, reasons, comment) {
				const answer = await server.rate({ pair, choice, reasons, comment, visitor: lens.visitor() });
				if (answer.error) return answer.error;
				const { reveals, ...vote } = answer;
				settle(pair, { vote, reveals });
				lens.votesChanged?.();
				return "";
			},
			async undo(pair) {
				const answer = await server.undo({ pair, visitor: lens.visitor() });
				if (answer.error) return answer.error;
				settle(pair, { vote: null });
				lens.votesChanged?.();
				return "";
			},
		};

		/** Asks for the verdicts that were not known when the answers were complete. */
		async function check() {
			clearTimeout(checkTimer);
			if (!view || view.running) return;
			const id = view.id;
			const open = view.rows.filter((row) => Object.values(row.sides).some((side) => side.verdict?.checking));
			if (!open.length) return;
			let known = null;
			try {
				known = await server.judged({ pairs: open.map((row) => row.pair) }); // undefined where the call failed
			} catch {
				// No connection: the header says so, and the next round asks again.
			}
			if (!view || view.id !== id) return;
			const failed = !known || known.error;
			checkTimer = setTimeout(check, failed ? RETRY_MS : CHECK_MS);
			if (failed) return;
			for (const row of open) {
				for (const [place, verdict] of Object.entries(known[row.pair] || {})) if (row.sides[place]) row.sides[place].verdict = verdict;
				if (known[row.pair]?.change !== undefined) row.change = known[row.pair].change;
			}
			lens.history.save(view);
			asked.refresh(view);
			show(view);
		}

		/** How much of a row can be seen, in pixels. */
		function inView(row) {
			if (!row.root.checkVisibility()) return 0;
			const { top, bottom } = row.root.getBoundingClientRect();
			return Math.min(bottom, innerHeight) - Math.max(top, 0);
		}

		/** A number key votes on the comparison that has the focus and can be seen, or the only one; where none has, it
		 * gives the focus to the one in view, and says that the key votes there from now on. The vote's bar is brought into view. */
		lens.voteByKey = function (number) {
			if (!view || !root.checkVisibility()) return false;
			const focused = rows.find((row) => row.root.contains(document.activeElement));
			const chosen = focused || (rows.length === 1 ? rows[0] : null);
			if (chosen && inView(chosen) > 0) {
				chosen.root.contains(document.activeElement) || chosen.root.focus({ preventScroll: true });
				chosen.votes.vote(lens.CHOICES[number - 1]);
				chosen.votes.root.scrollIntoView({ block: "nearest" });
				return true;
			}
			const seen = rows.filter((row) => inView(row) > 0);
			const [next] = (seen.some((row) => row.votes.open) ? seen.filter((row) => row.votes.open) : seen).sort((a, b) => inView(b) - inView(a));
			if (!next) return false;
			next.root.focus({ preventScroll: true });
			next.votes.say("1 to 4 vote here now");
			return true;
		};

		/** Puts the comparison away, because other models answer from now on; it stays in the list below. */
		lens.clearBoard = function (words) {
			if (view?.running) return;
			view = null;
			drawnId = null;
			rows = [];
			list.replaceChildren();
			showNotice("info", words);
			history.draw();
			draw();
		};

		function showNotice(level, text) {
			notice.hidden = !text || text === problem.textContent;
			notice.dataset.level = level;
			setText(notice, text);
		}

		/** A row for each of the view's that has none yet, at its place; those that are there stay as they are. */
		function layOut() {
			const before = view.asked ? view.asked.before : 0;
			const single = lens.firsts(view).length === 1 && !before;
			const known = rows;
			rows = view.rows.map((row, index) => known.find((built) => row.pair && built.pair === row.pair) || (row.pair ? null : known[index]) || lens.buildRow(row, before + (row.number || index + 1) - 1, single, voting));
			for (const [index, row] of rows.entries()) if (list.children[index] !== row.root) list.insertBefore(row.root, list.children[index] || null);
			while (list.children.length > rows.length) list.lastChild.remove();
		}

		function draw() {
			stale = false;
			empty.hidden = Boolean(view);
			tools.hidden = list.hidden = !view;
			nothing.hidden = true;
			if (!view) return asked.update(null);
			const drawing = `${view.id} ${view.asked?.page || 1}`;
			if (drawnId !== drawing) {
				rows = [];
				list.replaceChildren();
				drawnId = drawing;
			}
			layOut();
			const waiting = waitingWords(view);
			for (const [index, row] of view.rows.entries()) rows[index].update(row, view, waiting);
			const firsts = lens.firsts(view);
			const single = firsts[0]?.task ? `A question of the task \u201c${firsts[0].task}\u201d` : "Your own question";
			setText(title, firsts.length === 1 ? single : view.title);
			setText(about, [`Asked ${when(view.asked_at)}`, view.settings, outcome(view)].filter(Boolean).join(" \u00b7 "));
			drawTally(tally, view);
			asked.update(view);
			list.style.setProperty("--ll-row", `${frameOf(view)}rem`);
			list.dataset.running = String(view.running);
			onlyDiffering.hidden = view.rows.length === 1;
			nothing.hidden = view.running || view.rows.length === 1 || list.dataset.filter !== "differs" || view.rows.some((row) => row.differs !== false);
		}

		function show(next) {
			view = next;
			view.rows.forEach(merge);
			lens.setBusy(view.running);
			// While it streams, at most once a frame; what is final is drawn at once, before anything says that it is there.
			if (!view.running) draw();
			else drawSoon();
		}

		/** Draws in the next frame, and then rests for as long as that took: news that comes meanwhile is taken in, so that
		 * the page never falls behind what the server tells, and Stop ends what is on show. */
		function drawSoon() {
			stale = true;
			if (frame) return;
			frame = requestAnimationFrame(() => {
				const begun = performance.now();
				try {
					if (stale) draw();
				} finally {
					setTimeout(() => setTimeout(rested, performance.now() - begun)); // when the frame is laid out and painted
				}
			});
		}
		function rested() {
			frame = 0;
			if (stale) drawSoon();
		}

		function finished() {
			lens.history.save(view);
			history.draw();
			setText(spoken, `Answers complete. ${outcome(view)}`);
		}

		function received() {
			const value = props.value && JSON.parse(JSON.stringify(props.value));
			if (!value) return;
			showNotice(value.notice ? value.notice.level : "info", value.notice ? value.notice.text : "");
			if (!value.rows) return lens.setBusy(false);
			if (kept && value.id !== kept.id && value.rows.some((row) => lens.turnOf(row) > 1 && kept.rows.some((other) => lens.threadOf(other) === lens.threadOf(row)))) {
				value.rows = lens.joined(kept.rows, value.rows);
				joinedId = value.id;
			}
			if (asked.elsewhere(value)) {
				lens.setBusy(value.running);
				return asked.news(value);
			}
			show(value);
			if (value.running) return;
			finished();
			check();
		}

		tools.addEventListener("change", () => draw());
		watch("value", received);
		let silent = 0;
		lens.onStatus((status) => {
			problem.hidden = !status.problem;
			setText(problem, status.problem);
			silent = status.lost ? silent + 1 : 0;
			if (!view?.running) return;
			if (silent < 2) return draw();
			show(lens.history.cut(view, "the server went away")); // if it was only slow, its next news is shown again
			lens.history.save(view);
		});
		addEventListener("pagehide", () => view?.running && lens.history.save(view));
		const [latest] = lens.history.list();
		history.draw();
		if (latest) {
			show(latest);
			check();
		} else draw();
	};
})(window.LoraLens);
