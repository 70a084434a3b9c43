"""The judge of tests/chaos --saga: what three databases say at rest. It takes nothing of boxhaul's word but how each saga ended and its log,
and holds those against what the services wrote themselves: what the desk ordered, what each step took effect as and when, and the books
of money and goods."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

EXAMPLES = 5
SLACK = 0.001  # seconds: both times are rounded
MANY = 50  # sagas, of which one at least meets a deadline
ENDS = {"completed", "undone"}


@dataclass
class Order:
    """What the desk committed together with the start of a saga."""
    saga: str
    amount: int
    count: int


@dataclass
class Saga:
    """How boxhaul says that it stands. deadline: seconds, of each of its steps at the first attempt."""
    id: str
    state: str
    stuck: str = None
    deadline: float = 1.0


@dataclass
class Effect:
    """What a service did for a saga, in the transaction that took it. at: the clock of the one machine. what: do, undo or refuse."""
    saga: str
    step: str
    what: str
    at: float


@dataclass(frozen=True)
class Command:
    """A message with a command: a row of the desk's outbox, or what came to a participant."""
    saga: str
    step: str
    dir: str
    attempt: int
    message: str


@dataclass(frozen=True)
class Event:
    """A row of a saga's log. action: what came of the event. at: by the clock that counted, which may have been set."""
    saga: str
    event: str
    action: str
    step: str
    dir: str
    attempt: int
    at: float


@dataclass
class Found:
    """All that was read. steps: the names of the definition's, in order. sent: the commands in the desk's outbox; arrived: those that
    participants took, each copy."""
    steps: list
    orders: list
    sagas: list
    effects: list
    sent: list
    arrived: list
    log: list
    books: dict = field(default_factory=dict)
    locks: list = field(default_factory=list)  # resources that one which has ended still holds


@dataclass
class Book:
    """Money or goods of one service. spent: what left it for good; held: what waits for the end of a saga; left: the rest."""
    before: int
    left: int
    held: int
    spent: int
    of: str  # amount or count: which part of an order it is


COUNTS = ("open", "stuck", "unstarted", "unordered", "twice", "mixed", "half", "order", "deadlines", "early", "strangers", "made_or_lost", "locked")


class Verdict:
    """counts: each is a violation unless it is 0. The rest tells what there was."""

    def __init__(self):
        self.counts, self.examples = Counter(), defaultdict(list)
        self.started = self.completed = self.undone = self.timeouts = self.refused = self.repeats = self.effects = 0

    def count(self, kind, what):
        assert kind in COUNTS, kind
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.examples[kind].append(what)

    @property
    def inconsistent(self):
        return sum(n for kind, n in self.counts.items() if kind not in ("open", "stuck"))

    def violations(self):
        found = [f"{kind}={self.counts[kind]}: {'; '.join(map(str, self.examples[kind]))}" for kind in COUNTS if self.counts[kind]]
        found += [] if self.completed + self.undone else ["no saga ended"]
        return found + ([] if self.timeouts or self.started < MANY else [f"of {self.started} sagas none met a deadline: there is no clock"])


def judge(found):
    v = Verdict()
    sagas = {saga.id: saga for saga in found.sagas}
    v.started, v.effects = len(sagas), len(found.effects)
    _ends(v, found, sagas)
    _effects(v, found, sagas)
    _deadlines(v, found)
    _early(v, found, sagas)
    for name, book in found.books.items():
        _money(v, name, book, [order for order in found.orders if order.saga in sagas and sagas[order.saga].state == "completed"])
    for resource in found.locks:
        v.count("locked", resource)
    return v


def _ends(v, found, sagas):
    """Every saga ended or is shown as stuck, which is a violation too where everything works again; none without its order, and no order
    without its saga: both were written in one transaction."""
    for saga in sagas.values():
        if saga.state in ENDS:
            setattr(v, saga.state, getattr(v, saga.state) + 1)
        else:
            v.count("stuck" if saga.stuck else "open", f"{saga.id} {saga.state} {saga.stuck or ''}")
    ordered = Counter(order.saga for order in found.orders)
    for saga in ordered:
        if saga not in sagas:
            v.count("unstarted", f"{saga} was ordered")
    for saga in sagas:
        if saga not in ordered:
            v.count("unordered", f"{saga} has no order")


def _effects(v, found, sagas):
    by_saga = defaultdict(list)
    for effect in found.effects:
        by_saga[effect.saga].append(effect)
    for saga, effects in by_saga.items():
        if saga not in sagas:
            v.count("strangers", f"effects of {saga}, which was never started: {effects[0]}")
    for saga in sagas.values():
        at = {}
        for effect in by_saga[saga.id]:
            if (effect.step, effect.what) in at:
                v.count("twice", f"{saga.id} {effect.step} {effect.what}")
            at.setdefault((effect.step, effect.what), effect.at)
            v.refused += effect.what == "refuse"
        _steps(v, found.steps, saga, at)


def _steps(v, steps, saga, at):
    """What each step came to must fit the end of its saga. at: (step, what) -> when."""
    for step in steps:
        did, undid, refused = ((step, what) in at for what in ("do", "undo", "refuse"))
        if refused and (did or undid) or undid and not did:
            v.count("mixed", f"{saga.id} {step}: {'done ' * did}{'undone ' * undid}{'refused' * refused}")
        elif saga.state == "completed" and undid:
            v.count("mixed", f"{saga.id} is completed, and {step} was undone")
        elif saga.state == "completed" and not did or saga.state == "undone" and did and not undid:
            v.count("half", f"{saga.id} is {saga.state}, and {step} was {'not ' * (not did)}done")
    done = [step for step in steps if (step, "do") in at]
    if done != steps[:len(done)]:
        v.count("order", f"{saga.id}: {done} were done, and what stands between them was not")
    forward = [at[step, "do"] for step in done]
    back = [at[step, "undo"] for step in reversed(steps) if (step, "undo") in at]
    if forward + back != sorted(forward + back):
        v.count("order", f"{saga.id}: {sorted(at, key=at.get)}")


def _deadlines(v, found):
    """A deadline that counted twice would be in the log twice, or send two commands of one attempt, or leave an attempt out, or send more
    than were asked for again. A command that came and is in no outbox was never committed."""
    again = Counter((event.saga, event.step, event.dir) for event in found.log if event.action in ("again", "again_stuck"))
    for which, times in Counter(_about(event) for event in found.log if event.event == "timeout").items():
        v.timeouts += 1
        if times > 1:
            v.count("deadlines", f"the deadline of {which} stands in the log {times} times")
    attempts = defaultdict(list)
    for command in set(found.sent):
        attempts[command.saga, command.step, command.dir].append(command.attempt)
    for (saga, step, direction), numbers in attempts.items():
        v.repeats += len(numbers) - 1
        if sorted(numbers) != list(range(1, 2 + again[saga, step, direction])):
            v.count("deadlines", f"{saga} {step} {direction}: attempts {sorted(numbers)} were sent, and {again[saga, step, direction]} times "
                                 "it was to be asked again")
    messages, sent = defaultdict(set), set(found.sent)
    for command in found.arrived:
        messages[command.saga, command.step, command.dir, command.attempt].add(command.message)
        if command not in sent:
            v.count("strangers", f"{command} came, and nobody had sent it")
    for which, ids in messages.items():
        if len(ids) > 1:
            v.count("deadlines", f"{which} came in {len(ids)} messages")


def _about(event):
    return event.saga, event.step, event.dir, event.attempt


def _early(v, found, sagas):
    """A deadline belongs to a command: it passes so long after that was sent, doubled with each attempt up to 64 times. Whoever counts it
    again counts the next one before its time."""
    sent = {_about(event): event.at for event in found.log if event.event == "sent"}
    for event in found.log:
        if event.event == "timeout" and event.saga in sagas:
            due = sagas[event.saga].deadline * 2 ** min(event.attempt - 1, 6)
            if event.at - sent.get(_about(event), event.at) < due - SLACK:
                v.count("early", f"{event} of what was sent at {sent.get(_about(event))}, and is due {due} s later")


def _money(v, name, book, completed):
    owed = sum(getattr(order, book.of) for order in completed)
    if book.left + book.held + book.spent != book.before:
        v.count("made_or_lost", f"{name}: {book.before} before, {book.left} + {book.held} + {book.spent} at rest")
    elif book.held and not v.counts["open"] + v.counts["stuck"]:
        v.count("made_or_lost", f"{name}: {book.held} is held for sagas that have ended")
    elif book.spent != owed and not v.counts["open"] + v.counts["stuck"]:
        v.count("made_or_lost", f"{name}: {book.spent} is spent, and the completed orders are {owed}")


# -- reading what the three databases say

def read(desk, stock, bank, steps, before):
    """desk, stock, bank: functions that run a query there and return its rows."""
    sent = [Command(*row) for row in desk("""
        SELECT h ->> 'Boxhaul-Saga', h ->> 'Boxhaul-Step', h ->> 'Boxhaul-Dir', (h ->> 'Boxhaul-Attempt')::int, message_id::text
          FROM (SELECT message_id, boxhaul_headers AS h FROM boxhaul.outbox) o WHERE h ? 'Boxhaul-Saga'""")]
    effects, arrived, books = [], [], {}
    for ask in (desk, stock, bank):
        effects += [Effect(*row) for row in ask("SELECT saga::text, step, what, extract(epoch FROM at)::float8 FROM effect ORDER BY n")]
    for name, ask, of in (("stock", stock, "count"), ("bank", bank, "amount")):
        arrived += [Command(*row) for row in ask("SELECT saga::text, step, dir, attempt, message FROM arrival")]
        books[name] = Book(before, *map(int, ask("SELECT sum(rest), sum(held), sum(spent) FROM book")[0]), of)
    return Found(
        steps, [Order(*row) for row in desk("SELECT saga::text, amount, count FROM orders")],
        [Saga(*row) for row in desk("""
            SELECT s.id::text, s.state, s.stuck, extract(epoch FROM (d.steps -> 1 ->> 'deadline')::interval)::float8
              FROM boxhaul.sagas s LEFT JOIN boxhaul.saga_definition d USING (name, version)""")], effects, sent, arrived,
        [Event(*row) for row in desk("SELECT saga::text, event, action, step, dir, attempt, extract(epoch FROM at)::float8 "
                                     "FROM boxhaul.saga_log ORDER BY saga, n")],
        books, [resource for (resource,) in desk("SELECT k.resource FROM boxhaul.saga_lock k JOIN boxhaul.saga s ON s.id = k.saga WHERE s.ended_at IS NOT NULL")])
