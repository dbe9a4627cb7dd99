// Python code -> lines of [class, text] pieces. Small, and quick enough to run at every streamed token.
(function (lens) {
	const KEYWORDS = new Set(
		(
			"False None True and as assert async await break case class continue def del elif else except finally for " +
			"from global if import in is lambda match nonlocal not or pass raise return try while with yield"
		).split(" ")
	);
	const BUILTINS = new Set(
		(
			"abs all any bool dict enumerate filter float input int isinstance len list map max min object open print " +
			"range reversed round set sorted str sum super tuple type zip self Exception ValueError TypeError KeyError"
		).split(" ")
	);
	const RULES = [
		["comment", /#[^\n]*/y],
		["string", /[rbfuRBFU]{0,2}("""|''')(?:\\[\s\S]|(?!\1)[\s\S])*(?:\1|$)/y],
		["string", /[rbfuRBFU]{0,2}(["'])(?:\\.|(?!\1)[^\\\n])*\1?/y],
		["decorator", /@[A-Za-z_][\w.]*/y],
		["number", /(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d+)?j?|\.\d+)/y],
		["name", /[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*/y],
		["plain", /\s+/y],
		["plain", /[^\w\s#"'@]+|[\s\S]/y],
	];
	const PLAIN_LANGUAGES = /^(bash|sh|shell|console|text|txt|output|json|html|sql|yaml|markdown|md)$/i;

	function nameClass(name, before) {
		if (/(?:^|\s)(?:def|class)\s+$/.test(before)) return "title";
		if (KEYWORDS.has(name)) return "keyword";
		if (BUILTINS.has(name) && !/\.$/.test(before)) return "builtin";
		return "plain";
	}

	function pieces(code) {
		const found = [];
		let at = 0;
		while (at < code.length) {
			for (const [kind, rule] of RULES) {
				rule.lastIndex = at;
				const match = rule.exec(code);
				if (!match?.[0]) continue;
				const text = match[0];
				found.push([kind === "name" ? nameClass(text, code.slice(Math.max(0, at - 12), at)) : kind, text]);
				at += text.length;
				break;
			}
		}
		return found;
	}

	/** Lines of [class, text]; a language other than Python stays plain. */
	lens.highlight = function (code, language) {
		const all = PLAIN_LANGUAGES.test(language) ? [["plain", code]] : pieces(code);
		const lines = [[]];
		for (const [kind, text] of all) {
			text.split("\n").forEach((part, index) => {
				if (index) lines.push([]);
				if (part) lines[lines.length - 1].push([kind, part]);
			});
		}
		return lines;
	};
})(window.LoraLens);
