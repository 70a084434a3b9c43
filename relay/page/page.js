"use strict";
/* The server draws the page; this fetches it again and puts what is new in the place of what was. Whoever listens to the
 * page instead of looking at it hears the state when it changes, and not every two seconds. */
const PAUSE_MS = 2000;
const fresh = document.getElementById("fresh");
const version = fresh.textContent;
let seen = Date.now();

function show(text) {
	const next = new DOMParser().parseFromString(text, "text/html");
	const main = next.getElementById("main");

	if (!main)
		throw new Error("another page");
	document.getElementById("main").replaceWith(main);
	document.title = next.title;
	document.body.classList.remove("gone");
	seen = Date.now();
	fresh.textContent = version;
}

function complain() {
	const state = document.getElementById("state");
	const words = "The relay does not answer. What stands below is " + Math.round((Date.now() - seen) / 1000) + " s old.";

	document.body.classList.add("gone");
	if (state.textContent !== words)
		state.textContent = words;
	document.title = "no answer - boxhaul";
	fresh.textContent = "no answer; trying again";
}

async function turn() {
	try {
		const answer = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(5000) });

		show(await answer.text());
	} catch {
		complain();
	}
	setTimeout(turn, PAUSE_MS);
}

setTimeout(turn, PAUSE_MS);
