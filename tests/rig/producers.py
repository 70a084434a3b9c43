"""The producers of a chaos run, and the history they write: one record per transaction, on which alone they are judged.

    {"name": "p1-17", "producer": "p1", "outcome": "committed", "messages": [["p1/31", "key-3", 12], ...],
     "undone": ["p1/32"], "began": ..., "ended": ...}

messages are [name, key, number]: the number is the key's version, raised under its row lock in the same transaction,
so the order of effects per key is a fact. undone ones went with a savepoint. An outcome is unknown when COMMIT got
no answer; each transaction also leaves its name in chaos.transactions, where the judge looks for it afterwards."""

import itertools
import json
import random
import threading
import time

import psycopg2

from shop import EVENTS, FORMS, seal

KEYS = 12  # few: a key often has several messages under way
BURST = 150  # rows of a burst, at most
SLOW = 1.0  # seconds; what takes longer is written down, and judged later
PATIENCE = 60  # seconds to connect: what is in the way ends sooner, and a machine that stalls is no error
UNDEFINED_OBJECT = "42704"


class History:
    """What all producers did, saw and waited for. Kept in memory, and written to a file by write()."""

    def __init__(self):
        self.transactions, self.errors, self.waits = [], [], []
        self._lock = threading.Lock()

    def transaction(self, record):
        with self._lock:
            self.transactions.append(record)

    def error(self, producer, doing, error, begin):
        with self._lock:
            self.errors.append({"begin": begin, "end": time.time(), "producer": producer, "doing": doing,
                                "sqlstate": error.pgcode, "text": str(error).strip()})

    def wait(self, producer, doing, begin, end):
        with self._lock:
            self.waits.append({"producer": producer, "doing": doing, "begin": begin, "end": end})

    def write(self, directory):
        for name in ("transactions", "errors", "waits"):
            with open(f"{directory}/{name}.jsonl", "w", encoding="utf-8") as f:
                f.writelines(json.dumps(record) + "\n" for record in getattr(self, name))


class Producer(threading.Thread):
    """One producer, with a connection that it makes anew when it is lost."""

    def __init__(self, name, conninfo, history, seed, pause=0.015):
        super().__init__(name=name, daemon=True)
        self.conninfo, self.history, self.pause = conninfo, history, pause
        self.dice = random.Random(f"{seed}/{name}")
        self.stopping, self.connection = threading.Event(), None
        self.transactions = self.messages = 0
        self.asked = 0.0    # when: for the answer, or to be let in
        self.prepared = []  # (record, verb, when): ends of two-phase transactions to come
        self.decided = {}   # name -> verb: what came

    def run(self):
        while not self.stopping.is_set() or self.prepared:
            if self._connected():
                self._finish_prepared()
                if not self.stopping.is_set():
                    self._one()
            self.stopping.wait(self.pause if self.connection else 0.1)
        if self.connection:
            self.connection.close()

    # -- the kinds of transactions

    def _one(self):
        kind = self.dice.choices(("usual", "rollback", "slow", "prepared", "long", "burst"), (83, 8, 4, 3, 1, 1))[0]
        record = self._new()
        own = kind in ("prepared", "long")  # nobody else may wait for what takes long on purpose
        verb = "ROLLBACK" if kind == "rollback" or (own and self.dice.random() < 0.25) else "COMMIT"
        try:
            self._work(record, own)
            if kind == "burst":
                self._burst(record)
            if kind in ("slow", "long"):
                time.sleep(self.dice.uniform(0.02, 0.3) if kind == "slow" else self.dice.uniform(1, 4))
        except psycopg2.Error as e:
            self._trouble("work", e)
            verb = "ROLLBACK"
        if kind == "prepared" and not self._lost():
            self._prepare(record, verb)
        else:
            self._end(record, verb)

    def leave_open(self, seconds, verb, stopping):
        """One transaction that writes and then sits idle, as a forgotten session does."""
        if not self._connected():
            return
        record = self._new()
        try:
            self._work(record, own=True)
        except psycopg2.Error as e:
            self._trouble("work", e)
        stopping.wait(seconds)
        self._end(record, verb)
        self.connection.close()

    def _new(self):
        self.transactions += 1
        return {"name": f"{self.name}-{self.transactions}", "producer": self.name, "outcome": None, "messages": [],
                "undone": [], "began": time.time()}

    def _work(self, record, own):
        self._execute("BEGIN")
        self._execute("INSERT INTO chaos.transactions VALUES (%s)", (record["name"],))
        if own:
            keys = [self._own_key()]
        else:
            keys = sorted(f"key-{n}" for n in self.dice.sample(range(KEYS), self.dice.choice((1, 1, 1, 2, 3))))
        for key in keys:  # in one order for all: no deadlocks
            if self.dice.random() < 0.1:
                self._execute("SAVEPOINT step")
                self._step(record, key, record["undone"])
                self._execute("ROLLBACK TO SAVEPOINT step")
            self._step(record, key, record["messages"])

    def _own_key(self):
        """One that no prepared transaction of ours has locked."""
        locked = {message[1] for record, _, _ in self.prepared for message in record["messages"]}
        return next(key for key in (f"{self.name}-own-{n}" for n in itertools.count()) if key not in locked)

    def _step(self, record, key, messages):
        """Raise the key's version, and tell of it once or twice; now and then also something without a key."""
        count = self.dice.choice((1, 1, 2))
        (version,), = self._execute("INSERT INTO chaos.keys VALUES (%s, %s) ON CONFLICT (key) DO UPDATE "
                                    "SET version = keys.version + excluded.version RETURNING version", (key, count))
        numbered = [(key, version - count + n + 1) for n in range(count)]
        for k, number in numbered + ([(None, None)] if self.dice.random() < 0.15 else []):
            self.messages += 1
            messages.append([f"{self.name}/{self.messages}", k, number])
            self._insert(record["name"], *messages[-1])

    def _burst(self, record):
        """Many rows of the first key in one statement: they keep the relay's window full for a while."""
        count, key = self.dice.randint(30, BURST), record["messages"][0][1]
        (version,), = self._execute("UPDATE chaos.keys SET version = version + %s WHERE key = %s RETURNING version",
                                    (count, key))
        rows = []
        for n in range(version - count + 1, version + 1):
            self.messages += 1
            record["messages"].append([f"{self.name}/{self.messages}", key, n])
            rows.append(self._row(record["name"], *record["messages"][-1]))
        columns = [[row[name] for row in rows] for name in ("subject", "key", "payload", "headers")]
        self._execute("INSERT INTO boxhaul.outbox (subject, key, payload, headers) SELECT s, k, convert_to(p, 'UTF8'), "
                      "h::jsonb FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS u (s, k, p, h)", columns)

    def _insert(self, *message):
        self._execute(FORMS[self.dice.choice(list(FORMS))], self._row(*message))

    def _row(self, transaction, name, key, number):
        subject, headers = f"orders.{self.dice.choice(EVENTS)}", {"Shop-City": "Zürich"}
        headers = headers if self.dice.random() < 0.2 else None
        body = {"message": name, "key": key, "seq": number, "transaction": transaction, "headers": headers,
                "subject": subject, "note": "né " * self.dice.randrange(60)}
        return {"subject": subject, "key": key, "payload": json.dumps(seal(body)),
                "headers": headers and json.dumps(headers)}

    # -- their ends

    def _end(self, record, verb):
        self._record(record, self._ask_for("end", verb))

    def _prepare(self, record, verb):
        outcome = self._ask_for("prepare", f"PREPARE TRANSACTION '{record['name']}'", "PREPARE TRANSACTION")
        if outcome == "aborted":
            self._record(record, outcome)
        else:  # unknown: perhaps it is prepared, and then it must be ended, too
            self.prepared.append((record, verb, time.time() + self.dice.uniform(0, 3)))

    def _finish_prepared(self):
        for item in list(self.prepared):
            record, verb, due = item
            if time.time() < due and not self.stopping.is_set():
                continue
            try:
                self._execute(f"{verb} PREPARED '{record['name']}'", doing="end")
                outcome = "committed" if verb == "COMMIT" else "aborted"
            except psycopg2.Error as e:
                if e.pgcode != UNDEFINED_OBJECT:
                    self._trouble("end", e)
                    return
                outcome = "unknown"  # never prepared, or ended by us with the answer lost
            self.prepared.remove(item)
            self.decided[record["name"]] = verb
            self._record(record, outcome)

    def _decide_again(self):
        """A failover may have lost the end of a two-phase transaction and kept its beginning."""
        for (name,) in self._execute("SELECT gid FROM pg_prepared_xacts WHERE gid = ANY (%s)", (list(self.decided),)):
            self._execute(f"{self.decided[name]} PREPARED '{name}'")

    def _ask_for(self, doing, verb, success="COMMIT"):
        """Returns the outcome. Without such a request sent it can only be an abort."""
        if self._lost():
            return "aborted"
        try:
            # COMMIT of a failed transaction rolls back, and says so here alone
            return "committed" if self._execute(verb, doing=doing, status=True) == success else "aborted"
        except psycopg2.Error as e:
            self._trouble(doing, e)
            return "unknown" if verb != "ROLLBACK" and self._lost() else "aborted"

    def _record(self, record, outcome):
        self.history.transaction({**record, "outcome": outcome, "ended": time.time()})

    # -- the connection

    def _connected(self):
        if not self._lost():
            return True
        self.asked = time.time()
        try:
            self.connection = psycopg2.connect(self.conninfo, connect_timeout=PATIENCE, application_name="producer")
            self.connection.autocommit = True  # BEGIN and COMMIT are ours: their outcome matters
            self._decide_again()
        except psycopg2.OperationalError as e:
            self.history.error(self.name, "connect", e, self.asked)
            self.connection = None
        return self.connection is not None

    def _lost(self):
        return self.connection is None or self.connection.closed

    def _trouble(self, doing, error):
        """An error without an SQLSTATE is libpq's own: the connection is lost, though psycopg2 may not know yet. The
        server's last words before it hangs up (class 57P) mean the same."""
        self.history.error(self.name, doing, error, self.asked)
        if not error.pgcode or error.pgcode.startswith("57P"):
            self.connection.close()

    def _execute(self, sql, values=None, doing="work", status=False):
        begin = self.asked = time.time()
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.statusmessage if status else cursor.fetchall() if cursor.description else None
        finally:
            if time.time() - begin > SLOW:
                self.history.wait(self.name, doing if doing != "work" else sql.split()[0], begin, time.time())
