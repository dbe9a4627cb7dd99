// Busy or not, and the keys: Ctrl/Cmd+Enter asks, Esc stops, 1 to 4 vote.
(function (lens) {
	lens.busy = false;

	/** While busy the page offers Stop in place of Ask. */
	lens.setBusy = function (busy) {
		if (lens.busy === busy) return;
		lens.busy = busy;
		const [gone, come] = busy ? ["ll-ask", "ll-stop"] : ["ll-stop", "ll-ask"];
		const focused = document.activeElement?.id === gone;
		document.documentElement.dataset.lensBusy = String(busy);
		if (focused) document.getElementById(come)?.focus();
		if (lens.pollStatus) lens.pollStatus();
	};

	/** Puts a question into the box and asks it, unless something is being answered. */
	lens.askOwn = function (question) {
		const box = document.querySelector("#ll-question textarea, #ll-question input");
		if (!box || lens.busy) return;
		const prototype = box.tagName === "TEXTAREA" ? HTMLTextAreaElement.prototype : HTMLInputElement.prototype;
		Object.getOwnPropertyDescriptor(prototype, "value").set.call(box, question); // past the framework's own setter
		box.dispatchEvent(new Event("input", { bubbles: true }));
		setTimeout(() => press("ll-ask"), 120); // once the framework has taken the text over
	};

	const press = (id) => document.getElementById(id)?.click();

	const typing = (target) => target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName) || (target.tagName === "INPUT" && !/^(checkbox|radio|button)$/.test(target.type));

	addEventListener("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !/^[1-4]$/.test(event.key) || typing(event.target)) return;
		if (lens.voteByKey?.(Number(event.key))) event.preventDefault();
	});

	addEventListener(
		"keydown",
		(event) => {
			if (event.key === "Escape" && lens.busy) {
				press("ll-stop");
			} else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.target.closest?.(".ll-further")) {
				event.preventDefault();
				event.stopPropagation();
				const own = document.querySelector("#ll-question textarea, #ll-question input");
				if (!lens.busy) press(own?.value.trim() ? "ll-ask" : "ll-ask-all");
			}
		},
		{ capture: true }
	);
})(window.LoraLens);
