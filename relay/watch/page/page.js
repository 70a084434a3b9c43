"use strict";
/* Draws /status and /history, every two seconds. State, sentence and advice are the relay's own; here is only how they look.
 * Text from outside goes into the page as text, never as HTML. */
const PAUSE_MS = 2000, MINUTES = 10, WIDTH = 600, HEIGHT = 100;
const at = id => document.getElementById(id);
let seen = 0;

/* --- small things --- */

function element(name, ...inside) {
	const e = document.createElement(name);

	e.append(...inside);
	return e;
}

/* Only what changed is written: whoever listens to the page hears the state when it is another one. */
function say(id, text) {
	if (at(id).textContent !== text)
		at(id).textContent = text;
}

/* `this` is a command. */
function prose(text) {
	return text.split("`").map((part, i) => i % 2 ? element("code", part) : part);
}

/* As base/duration.c. */
function duration(s) {
	if (s < 10)
		return `${s.toFixed(1)} s`;
	if (s < 120)
		return `${s.toFixed(0)} s`;
	if (s < 7200)
		return `${(s / 60).toFixed(0)} min`;
	return s < 172800 ? `${(s / 3600).toFixed(0)} h` : `${(s / 86400).toFixed(0)} days`;
}

const number = n => n === null ? "-" : n.toLocaleString("en-US");
// What the database counts up to there: so many, or more.
const counted = n => `${n === 10000 ? "at least " : ""}${number(n)}`;

/* rows: [name, value] */
function list(id, rows) {
	at(id).replaceChildren(...rows.map(([name, value]) => element("div", element("dt", name), element("dd", value))));
}

/* --- the status --- */

function problem(p) {
	return p.action === null ? element("li", p.summary) : element("li", `${p.summary}. `, element("span", ...prose(p.action)));
}

/* But for the one that is the headline. */
function draw_problems(s) {
	const others = s.problems.filter(p => p.summary !== s.summary);

	at("more").hidden = others.length === 0;
	at("problems").replaceChildren(...others.map(problem));
}

function stream(s, leads) {
	const open = s.wire === "batch" ? "open, in batches" : "open";
	const state = s.blocked ? "takes none" : !leads ? "-" : s.acks_total > 0 ? open : "unused";

	return element("tr", ...[s.name, state, number(s.queue_messages ?? null), number(s.acks_total), number(s.sequence)]
		.map(text => element("td", text)));
}

function subscription(s) {
	const state = s.stopped ? `stopped: ${s.stop}` : s.leader ? s.state : s.role;
	const oldest = s.oldest_unhandled_seconds;

	return element("tr", ...[s.name, s.stream, state, number(s.lag_messages), number(s.waiting), oldest === null ? "-" : duration(oldest),
		number(s.parked), counted(s.dead_letters), proof(s)].map(text => element("td", text)));
}

/* Of a sink. */
function proof(s) {
	if ((s.sink_different ?? null) === null)
		return "-";
	if (s.sink_different > 0)
		return `${counted(s.sink_different)} ${s.sink_different === 1 ? "row differs" : "rows differ"}`;
	if ((s.sink_proved_seconds ?? null) === null)
		return `${number(s.sink_unproved_tables)} ${s.sink_unproved_tables === 1 ? "table" : "tables"} not verified`;
	return `equal, ${duration(s.sink_proved_seconds)} ago`;
}

/* By thousands, as base/bytes.c. */
function bytes(n) {
	const units = ["B", "kB", "MB", "GB", "TB", "PB"];
	let unit = 0;

	if (n === null)
		return "-";
	for (; n >= 999.5 && unit + 1 < units.length; unit++)
		n /= 1000;
	return `${unit > 0 && n < 9.95 ? n.toFixed(1) : n.toFixed(0)} ${units[unit]}`;
}

function capture(c) {
	const state = c.state === "gap" ? `gap: ${c.reason}` : c.paused ? "paused" : c.blocked ? "stands still" : c.leader ? c.state ?? "-" : c.role;

	return element("tr", ...[c.name, c.stream, state, c.lag_seconds === null ? "-" : duration(c.lag_seconds), bytes(c.lag_bytes),
		bytes(c.retained_bytes), number(c.stored_total), counted(c.dead_letters)].map(text => element("td", text)));
}

/* How far the rows of a table are, and how long it takes at this rate. */
function share(t) {
	const part = t.estimate_rows > 0 ? `${Math.min(100, 100 * t.rows / t.estimate_rows).toFixed(0)} %` : "-";

	return t.rate > 0 && t.estimate_rows > t.rows ? `${part}, ${duration((t.estimate_rows - t.rows) / t.rate)} left` : part;
}

/* Those whose rows are not all stored, or are being verified. */
function draw_captures(all) {
	const rows = all.flatMap(c => c.tables.filter(t => t.state !== null && t.state !== "complete").map(t => element("tr", ...[c.name, t.name,
		`${t.state}${t.whole ? ", whole" : ""}${t.reason === null ? "" : `: ${t.reason}`}`, number(t.rows), t.estimate_rows > 0 ? number(t.estimate_rows) : "-",
		t.rate === null ? "-" : t.rate.toFixed(0), share(t)].map(text => element("td", text)))));

	at("capture").hidden = all.length === 0;
	at("captures").replaceChildren(...all.map(capture));
	at("capture-tables").hidden = rows.length === 0;
	at("snapshots").replaceChildren(...rows);
}

function draw_sagas(g) {
	at("sagas").hidden = g === null;
	if (g === null)
		return;
	list("saga-figures", [
		["open", number(g.open)],
		["stuck", g.worst === null ? number(g.stuck) : `${number(g.stuck)}; ${g.worst.name} ${g.worst.id} at ${g.worst.step}: ${g.worst.stuck}`],
		["oldest", g.oldest_open_seconds ? duration(g.oldest_open_seconds) : "-"],
		["clock", g.clock ? "runs here" : g.leads ? "waits for the answers" : "not here"],
	]);
	at("saga-table").hidden = g.by.length === 0;
	at("saga-kinds").replaceChildren(...g.by.map(k => element("tr", ...[k.name, k.state, number(k.open)].map(text => element("td", text)))));
}

function connection(c, to) {
	return c.connected ? `connected${to ? ` to ${to}` : ""}` : `not connected: ${c.why}`;
}

function draw_details(s) {
	const ours = [
		["position", `${number(s.position)}, read up to ${number(s.read_id)}`],
		["exceptions", `${number(s.parked_ranges)} ranges of ids held back, ${number(s.missing_ranges)} not visible `
			+ "(rolled back, or in open transactions: nothing waits for them)"],
	];

	list("details", [
		["PostgreSQL", connection(s.postgres)],
		["NATS", connection(s.nats, s.nats_url)],
		["role", s.leader ? `leader, epoch ${s.epoch}` : s.role],
		...(s.leader ? ours : []),
		["running for", duration(s.uptime_seconds)],
	]);
}

function draw_status(s, rate) {
	const leads = s.leader;

	at("head").className = s.state;
	say("instance", s.instance);
	say("state", s.summary);
	at("action").replaceChildren(...(s.action === null ? [] : prose(s.action)));
	document.title = `${s.state === "ok" ? "" : `${s.state} - `}${s.instance} - boxhaul`;
	at("leading").hidden = !leads;
	list("figures", [
		["lag", s.lag_seconds === null ? "-" : duration(s.lag_seconds)],
		["delivered", rate !== null ? `${rate.toFixed(0)} /s` : "-"],
		["waiting", number(s.backlog_messages)],
		["in flight", number(s.in_flight_messages)],
		["dead letters", counted(s.dead_letters)],
		["exceptions", number(s.exceptions)],
	]);
	draw_problems(s);
	at("streams").replaceChildren(...s.streams.map(each => stream(each, leads)));
	at("inbox").hidden = s.subscriptions.length === 0;
	at("outbox").hidden = s.streams.length === 0;
	at("subscriptions").replaceChildren(...s.subscriptions.map(subscription));
	draw_captures(s.captures);
	draw_sagas(s.sagas);
	draw_details(s);
	say("fresh", `boxhaul ${s.version}`);
}

/* --- the charts --- */

/* points: [seconds ago, value or null]; what is not known is a gap. */
function draw_line(id, points, top) {
	let pen = "M";
	const path = points.map(([ago, value]) => {
		if (value === null) {
			pen = "M";
			return "";
		}
		const x = WIDTH * (1 - ago / (MINUTES * 60)), y = HEIGHT * (1 - (top > 0 ? value / top : 0));
		const step = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;

		pen = "L";
		return step;
	});

	at(id).setAttribute("d", path.join(""));
}

/* Messages a second between two samples. */
function rates(samples) {
	return samples.slice(1).map(([ago, acks], i) => {
		const [before, fewer] = samples[i];

		return [ago, before > ago ? Math.max(0, (acks - fewer) / (before - ago)) : 0];
	});
}

/* Returns the last rate, or null. */
function draw_charts(samples) {
	const lags = samples.map(([ago, , lag]) => [ago, lag]), speeds = rates(samples);
	const lag_top = Math.max(0, ...lags.map(([, lag]) => lag ?? 0)), rate_top = Math.max(0, ...speeds.map(([, rate]) => rate));

	at("charts").hidden = samples.every(([, acks, lag]) => acks === 0 && lag === null);
	draw_line("lag", lags, Math.max(1, lag_top)); /* less is no hill */
	draw_line("rate", speeds, rate_top);
	say("lag-top", duration(lag_top));
	say("rate-top", rate_top.toFixed(0));
	return speeds.length > 0 ? speeds[speeds.length - 1][1] : null;
}

/* --- from turn to turn --- */

async function ask(path) {
	const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });

	return answer.json();
}

function complain() {
	document.body.classList.add("gone");
	say("state", seen === 0 ? "The relay does not answer"
		: `The relay does not answer. What stands below is ${duration((Date.now() - seen) / 1000)} old`);
	at("action").replaceChildren();
	document.title = "no answer - boxhaul";
	say("fresh", "no answer; trying again");
}

function show(status, history) {
	at("body").hidden = false;
	document.body.classList.remove("gone");
	draw_status(status, draw_charts(history.samples));
	seen = Date.now();
}

async function turn() {
	let answers = null;

	try {
		answers = await Promise.all([ask("status"), ask("history")]);
	} catch {
		complain();
	}
	setTimeout(turn, PAUSE_MS);
	if (answers !== null)
		show(...answers);
}

say("state", "Asking the relay");
turn();
