"""The three services of tests/chaos --saga, in SQL, and the saga that they share: the desk orders and notes it, the stock reserves goods and ships them,
the bank holds money and charges it. Each writes what took effect into a table of its own, in the same transaction: that is what the judge
reads. Stock is a handler in the database; the bank has workers (saga_worker.py), which call the same functions."""

STREAM, REPLIES = "SAGAS", "desk.saga"
SHARES = 8  # rows of a service's book, so that not every transaction waits for every other
BEFORE = 1_000_000  # of money, or goods, in each



def steps(deadline, retries):
    told = [("reserve", "undoable", "stock.reserve", "stock.release"), ("hold", "undoable", "bank.hold", "bank.free"),
            ("charge", "pivot", "bank.charge", None), ("ship", "retriable", "stock.ship", None)]
    return [{"name": "note", "kind": "undoable", "call": "public.note", "undo": "public.note"}] + [
        {"name": name, "kind": kind, "command": command, "undo": undo, "deadline": deadline, "retries": retries}
        for name, kind, command, undo in told]


# The faults are longer than the deadlines of the one; the other asks once, and gives up what takes longer than it does when all is well.
DEFINITIONS = {"order": steps("1500ms", 2), "rush": steps("300ms", 0)}
STEPS = [step["name"] for step in DEFINITIONS["order"]]

# A local step in the desk's own database, which fails now and then.
DESK = """
CREATE TABLE orders (saga uuid PRIMARY KEY, amount bigint NOT NULL, count bigint NOT NULL);
CREATE TABLE effect (n bigserial PRIMARY KEY, saga uuid, step text, what text, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE mood (calm boolean NOT NULL);
INSERT INTO mood VALUES (false);
CREATE FUNCTION note(saga uuid, step text, dir text, data jsonb) RETURNS jsonb LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.effect (saga, step, what) VALUES (saga, step, dir);
    IF random() < 0.05 AND NOT (SELECT calm FROM public.mood) THEN RAISE 'not today'; END IF;
    RETURN NULL;
END $$;
GRANT SELECT, INSERT ON orders TO {service};
"""

# holds: the step that takes from the rest and can be undone; spends: the one that uses up what was held, and cannot.
PARTICIPANT = """
CREATE TABLE book (share int PRIMARY KEY, rest bigint NOT NULL, held bigint NOT NULL, spent bigint NOT NULL);
INSERT INTO book SELECT g, {before} / {shares}, 0, 0 FROM generate_series(0, {shares} - 1) g;
CREATE TABLE held (saga uuid PRIMARY KEY, n bigint NOT NULL);
CREATE TABLE asked (saga uuid, step text, n bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (saga, step));
CREATE TABLE effect (n bigserial PRIMARY KEY, saga uuid, step text, what text, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE arrival (saga uuid, step text, dir text, attempt int, message text);

CREATE FUNCTION takes_effect(s uuid, step text, what text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    place int := abs(hashtext(s::text)) % {shares};
    was   bigint;
BEGIN
    IF what = 'do' AND step = '{holds}' THEN
        UPDATE public.book b SET rest = rest - takes_effect.n, held = held + takes_effect.n WHERE b.share = place;
        INSERT INTO public.held VALUES (s, takes_effect.n);
    ELSIF what <> 'refuse' THEN
        DELETE FROM public.held h WHERE h.saga = s RETURNING h.n INTO STRICT was;
        UPDATE public.book b SET held = held - was, spent = spent + CASE what WHEN 'do' THEN was ELSE 0 END,
                                 rest = rest + CASE what WHEN 'undo' THEN was ELSE 0 END WHERE b.share = place;
    END IF;
    INSERT INTO public.effect (saga, step, what) VALUES (s, step, what);
END $$;

-- What this service makes of one command: done, refused, error, later; or nothing at all, which ends in a roll-back. roll: 0 to 1.
CREATE FUNCTION act(m boxhaul.inbox, roll float8, calm boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    saga uuid := m.headers ->> 'Boxhaul-Saga';
    step text := m.headers ->> 'Boxhaul-Step';
    n    bigint := (convert_from(m.payload, 'UTF8')::jsonb ->> '{unit}')::bigint;
    todo text;
BEGIN
    INSERT INTO public.arrival VALUES (saga, step, m.headers ->> 'Boxhaul-Dir', (m.headers ->> 'Boxhaul-Attempt')::int,
                                       m.headers ->> 'Nats-Msg-Id');
    todo := boxhaul.saga_accept(m);
    IF todo = 'skip' THEN RETURN; END IF;
    IF NOT calm AND roll < 0.02 THEN RAISE 'not today'; END IF;
    IF todo = 'undo' AND NOT calm AND roll < 0.1 THEN  -- wrong of it: an undo must be done in the end
        PERFORM boxhaul.saga_answer(m, CASE WHEN roll < 0.06 THEN 'error' ELSE 'refused' END);
    ELSIF todo = 'undo' THEN
        PERFORM public.takes_effect(saga, step, 'undo', n);
        PERFORM boxhaul.saga_answer(m, 'done');
    ELSIF calm OR roll > 0.25 THEN
        PERFORM public.takes_effect(saga, step, 'do', n);
        PERFORM boxhaul.saga_answer(m, 'done', jsonb_build_object(step, n));
    ELSIF roll < 0.10 THEN
        INSERT INTO public.asked VALUES (saga, step, n) ON CONFLICT DO NOTHING;  -- a clerk answers, some time
    ELSIF roll < 0.17 OR step = 'ship' THEN
        PERFORM boxhaul.saga_answer(m, 'error', jsonb '{{"error": "not today"}}');
    ELSE
        PERFORM public.takes_effect(saga, step, 'refuse', n);
        PERFORM boxhaul.saga_answer(m, 'refused', jsonb '{{"reason": "no"}}');
    END IF;
END $$;

-- The handler that boxhaul calls.
CREATE TABLE mood (calm boolean NOT NULL);
INSERT INTO mood VALUES (false);
CREATE FUNCTION handle(m boxhaul.inbox) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM public.act(m, random(), (SELECT calm FROM public.mood));
END $$;

-- A clerk decides what waits: it is done, or refused, unless it has been undone meanwhile.
CREATE FUNCTION decide(s uuid, st text, yes boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    was bigint;
BEGIN
    DELETE FROM public.asked a WHERE a.saga = s AND a.step = st RETURNING a.n INTO STRICT was;
    PERFORM public.takes_effect(s, st, CASE WHEN yes OR st = 'ship' THEN 'do' ELSE 'refuse' END, was);
    PERFORM boxhaul.saga_answer(s, st, CASE WHEN yes OR st = 'ship' THEN 'done' ELSE 'refused' END, jsonb '{{"by": "a clerk"}}');
END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO {users};
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {users};
"""


def participant(holds, unit, users):
    return PARTICIPANT.format(before=BEFORE, shares=SHARES, holds=holds, unit=unit, users=", ".join(users))
