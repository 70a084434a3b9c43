-- boxhaul 009: sagas: work that spans services, each with its own database, ends completed or undone.
--
-- The initiator keeps a saga in one row. Each event (an answer, a deadline, a call of somebody who operates) is one transition of that
-- row under its lock, in one transaction with the log's row and the command for the next step, which is a row of the outbox. What an
-- event does is said by a total table, saga_transition(). A participant keeps one row for each step that it was ever asked for.
--
-- What holds always, and where the reason stands (S1 to S12):
--   S1  one transition an event, under the row's lock, with its command        saga_reply, saga_tick
--   S2  a saga ends by answers, never by a deadline alone                      saga_transition
--   S3  what was done is undone in the reverse order                           saga_undo_at
--   S4  no undo before every later step is undone, refused or never sent       saga_event
--   S5  behind a pivot that is done no undo is sent                            saga_transition, saga_define
--   S6  a deadline counts once for (step, direction, attempt)                  saga_log_timeout, saga_tick
--   S7  a participant: one effect at most for (saga, step, direction), and never a do behind an undo     saga_accept, saga_answer
--   S8  completed: every step is done; undone: none is                         saga_transition, saga_part
--   S9  not ended: due_at is set; ended: it is not                             CHECK of saga
--   S10 not ended and all attempts used up: it is shown as stuck               saga_event
--   S11 a definition never changes under a saga                                saga_definition_kept
--   S12 a start that is rolled back leaves nothing                             saga_start

SET standard_conforming_strings = on;  -- what stands below is written for it

-- --- tables of the initiator ---

-- What the daemon's configuration says. Without it nobody knows where answers go, so nothing can be started.
CREATE TABLE IF NOT EXISTS boxhaul.saga_settings (
    one           boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    replies       text        NOT NULL,            -- the subject of answers
    retention     interval    NOT NULL CHECK (retention > '0'),
    configured_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Kinds of sagas. Written by saga_define() only. A version never changes: what runs ends on the steps it began with.
CREATE TABLE IF NOT EXISTS boxhaul.saga_definition (
    name       text        NOT NULL CHECK (name ~ '^[A-Za-z0-9_-]{1,64}$'),
    version    integer     NOT NULL,
    steps      jsonb       NOT NULL,
    turn       bigint      NOT NULL,               -- the highest of a name is the one that starts: it was defined last
    defined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version)
);

-- One row a saga, and one update of it an event.
CREATE TABLE IF NOT EXISTS boxhaul.saga (
    id          uuid        NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    name        text        NOT NULL,
    version     integer     NOT NULL,
    key         text        NOT NULL,              -- what it is about, in the service's words
    state       text        NOT NULL CHECK (state IN ('running', 'undoing', 'completed', 'undone')),
    step        integer     NOT NULL,              -- place in the definition's steps, from 0
    reached     integer     NOT NULL,              -- the last step whose command may have left
    attempt     integer     NOT NULL,              -- of this step in this direction, from 1. Never goes back
    sent        boolean     NOT NULL,              -- its command was sent; false: a function failed that makes it
    failures    integer     NOT NULL DEFAULT 0,    -- of that function
    due         text        NOT NULL CHECK (due IN ('timeout', 'repeat', 'resend')),    -- what the clock does at due_at
    due_at      timestamptz,
    deadline    timestamptz,                       -- it was due then, and is put off: see saga_put_off. NULL: it was not
    asked_at    timestamptz,                       -- when the first command of this step in this direction was made
    stuck       text        CHECK (stuck IN ('exhausted', 'refused', 'failed', 'orphan')),
    stuck_since timestamptz,
    error       text,
    cancelled   text,                              -- why it is to be cancelled: waits for the answer of the pivot
    data        jsonb       NOT NULL,
    locks       text[]      NOT NULL,
    traceparent text,
    reason      text,                              -- why it is undone
    log_n       integer     NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at    timestamptz,
    CHECK ((state IN ('completed', 'undone')) = (ended_at IS NOT NULL)),
    CHECK ((ended_at IS NULL) = (due_at IS NOT NULL)),                                   -- S9
    CHECK ((stuck IS NULL) = (stuck_since IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
-- Only open sagas stand in the first two: a million that have ended cost the clock nothing.
CREATE INDEX IF NOT EXISTS saga_due ON boxhaul.saga (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS saga_open ON boxhaul.saga (name, state) WHERE ended_at IS NULL;
CREATE INDEX IF NOT EXISTS saga_stuck ON boxhaul.saga (stuck_since) WHERE stuck IS NOT NULL;
CREATE INDEX IF NOT EXISTS saga_ended ON boxhaul.saga (ended_at) WHERE ended_at IS NOT NULL;

-- What happened: events, with what came of each, and the commands that were sent.
CREATE TABLE IF NOT EXISTS boxhaul.saga_log (
    saga       uuid        NOT NULL,
    n          integer     NOT NULL,
    at         timestamptz NOT NULL,
    event      text        NOT NULL,
    action     text        NOT NULL,               -- a word of saga_transition(); of a start and a command: 'sent'
    step       text,
    dir        text        CHECK (dir IN ('do', 'undo')),
    attempt    integer,
    detail     text,
    reply      jsonb,
    message    bigint,                             -- the command's row in the outbox
    message_id uuid,
    PRIMARY KEY (saga, n)
);
-- S6: a deadline that two clocks saw, or one clock twice, is refused by the second row.
CREATE UNIQUE INDEX IF NOT EXISTS saga_log_timeout ON boxhaul.saga_log (saga, step, dir, attempt) WHERE event = 'timeout';

-- Named resources that an open saga has to itself, among the sagas of this database.
CREATE TABLE IF NOT EXISTS boxhaul.saga_lock (
    resource text NOT NULL PRIMARY KEY,
    saga     uuid NOT NULL
);

-- Answers to sagas that are not on record here: this database has lost history (a failover), or somebody else's answers come here.
CREATE TABLE IF NOT EXISTS boxhaul.saga_orphan (
    saga        uuid        NOT NULL,
    step        text        NOT NULL,
    dir         text        NOT NULL,
    outcome     text        NOT NULL,
    attempt     integer     NOT NULL,
    reply       jsonb,
    times       integer     NOT NULL DEFAULT 1,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at timestamptz,
    reason      text,
    PRIMARY KEY (saga, step, dir, outcome)
);

-- What the clock counts, and what was cleaned away. One row.
CREATE TABLE IF NOT EXISTS boxhaul.saga_count (
    one           boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
    timeouts      bigint      NOT NULL DEFAULT 0,
    late_ms       bigint      NOT NULL DEFAULT 0,  -- by how much the last deadlines were taken too late: the worst of that tick
    sagas_before  timestamptz NOT NULL DEFAULT '-infinity',   -- sagas that ended before may be gone
    parts_before  timestamptz NOT NULL DEFAULT '-infinity'    -- rows of saga_part from before may be gone
) WITH (fillfactor = 50);
INSERT INTO boxhaul.saga_count DEFAULT VALUES ON CONFLICT DO NOTHING;

-- --- the table of a participant ---

-- One row for each step that was asked for. It remembers what came of it, so that a repeat gets the same answer, and what an answer
-- needs that is given when the command's row is gone.
--   pending  accepted, not answered yet     error  to be asked again        refused  did nothing, and never will
--   done     with dir = 'undo': its undo was accepted, and is not answered yet
--   undone   done, and undone               void   its undo came first, or before its answer: a tombstone. It is never done
CREATE TABLE IF NOT EXISTS boxhaul.saga_part (
    saga        uuid        NOT NULL,
    step        text        NOT NULL,
    did         text        NOT NULL CHECK (did IN ('pending', 'error', 'refused', 'done', 'undone', 'void')),
    dir         text        NOT NULL CHECK (dir IN ('do', 'undo')),
    attempt     integer     NOT NULL,              -- of the command that the next answer is for
    reply       jsonb,                             -- of the do
    reply_to    text        NOT NULL,
    since       timestamptz,                       -- as the initiator says: see saga_accept
    traceparent text,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (saga, step)
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS saga_part_at ON boxhaul.saga_part (at);

-- --- the transition ---

-- What an event does to a saga. This table is all there is to it; boxhaul-saga(7) prints it.
--
--   state          running, undoing, completed, undone
--   kind           of the step at which it stands: undoable, pivot, retriable
--   event          done, refused, error   the answer of a participant, or of a local step
--                  failed                 a function raised that makes a command, or is a local step
--                  timeout                the clock: no answer came in time
--                  repeat                 the clock: it is time to ask again behind an error or a refusal
--                  resend                 the clock: it is time to try again what failed
--                  unsent                 an answer to a command that was never sent, or one that denies an answer before
--                  cancel, retry, undo, resolve_done, resolve_undone, resolve_refused     somebody asks for it
--   fits           answers and the clock: it is about the step at which the saga stands, in its direction (an error, and the clock: also
--                  the attempt). cancel and undo: the command of the step was sent. resolve_...: it names the step at which it stands
--   attempts_left  the attempt is not the last one
--   first          no step before this one has an undo
--   last           no step stands behind this one
--   cancelling     it was cancelled while the pivot was under way
--   orphan         it is stuck, for an answer came that proves lost history (unsent)
--
--   next           on to the next step                     complete       it has ended, completed
--   back           undo the steps before this one          undo_this      undo this step, and those before it
--   undone         it has ended, undone                    again          the same command, as the next attempt
--   again_stuck    so, and it is shown as stuck            send           the same command, as the same attempt
--   wait           the clock asks again                    wait_stuck     so, and it is shown as stuck
--   mark           remember the cancel                     orphan         it is stuck until somebody resolves it
--   clear          it is no orphan any more                already        it is being undone, or is
--   refuse         that cannot be                          ignore         it stands in the log, and does nothing
--
-- Why it is safe. No line of the clock ends a saga (S2): undone by undo_this comes where the step has no undo, that is, was declared
-- harmless. A step that timed out may have been done, so its own undo is sent (undo_this); a step that refused was not, so it is passed
-- (back). A pivot that may have been done is neither given up nor undone: it is asked until it answers (S5). An undo is asked for until
-- it is done (S8). What is done by a person's word is resolve_..., and is in the log.
CREATE OR REPLACE FUNCTION boxhaul.saga_transition(
    state text, kind text, event text, fits boolean, attempts_left boolean, first boolean, last boolean, cancelling boolean,
    orphan boolean) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF event = 'unsent' THEN
        RETURN 'orphan';                            -- history was lost: going on could do what was undone
    END IF;
    IF state IN ('completed', 'undone') THEN
        RETURN CASE WHEN event LIKE 'resolve\_%' THEN CASE WHEN orphan THEN 'clear' ELSE 'refuse' END
                    WHEN event IN ('cancel', 'undo') THEN CASE WHEN state = 'undone' AND NOT orphan THEN 'already' ELSE 'refuse' END
                    WHEN event = 'retry' THEN 'refuse'
                    ELSE 'ignore' END;
    ELSIF orphan AND event NOT LIKE 'resolve\_%' THEN
        RETURN CASE WHEN event IN ('cancel', 'undo', 'retry') THEN 'refuse' ELSE 'ignore' END;
    ELSIF event = 'retry' THEN
        RETURN 'again';
    ELSIF event IN ('cancel', 'undo') THEN
        RETURN CASE WHEN state = 'undoing' THEN 'already'
                    WHEN kind = 'undoable' THEN 'undo_this'
                    WHEN kind = 'retriable' THEN 'refuse'
                    WHEN fits THEN 'mark'
                    WHEN first THEN 'undone' ELSE 'back' END;
    ELSIF NOT fits THEN
        RETURN CASE WHEN event LIKE 'resolve\_%' THEN 'refuse' ELSE 'ignore' END;
    ELSIF event = 'failed' THEN
        RETURN 'wait_stuck';
    ELSIF event = 'resend' THEN
        RETURN 'send';
    ELSIF event = 'repeat' THEN
        RETURN 'again';
    ELSIF state = 'undoing' THEN
        RETURN CASE WHEN event IN ('done', 'resolve_undone', 'resolve_refused') THEN CASE WHEN first THEN 'undone' ELSE 'back' END
                    WHEN event = 'resolve_done' THEN 'refuse'
                    WHEN event = 'refused' THEN 'wait_stuck'
                    WHEN event = 'error' THEN CASE WHEN attempts_left THEN 'wait' ELSE 'wait_stuck' END
                    WHEN event = 'timeout' THEN CASE WHEN attempts_left THEN 'again' ELSE 'again_stuck' END END;
    ELSIF event IN ('done', 'resolve_done') THEN
        RETURN CASE WHEN cancelling AND kind = 'undoable' THEN 'undo_this'
                    WHEN last THEN 'complete' ELSE 'next' END;
    ELSIF event IN ('refused', 'resolve_refused', 'resolve_undone') THEN
        RETURN CASE WHEN kind = 'retriable' THEN CASE WHEN event = 'refused' THEN 'wait_stuck' ELSE 'refuse' END
                    WHEN first THEN 'undone' ELSE 'back' END;
    ELSIF event = 'error' THEN
        RETURN CASE WHEN attempts_left THEN 'wait' WHEN kind = 'undoable' THEN 'undo_this' ELSE 'wait_stuck' END;
    ELSIF event = 'timeout' THEN
        RETURN CASE WHEN attempts_left THEN 'again' WHEN kind = 'undoable' THEN 'undo_this' ELSE 'again_stuck' END;
    END IF;
    RETURN NULL;                                    -- no such state, kind or event
END
$$;

-- --- definitions ---

-- A function of a step. It runs in the transaction of whoever starts, answers, operates or lets the clock tick: with the rights of its own
-- owner in each of them, and never with those of the owner of this schema. So it has to be SECURITY DEFINER. NULL: it is.
CREATE OR REPLACE FUNCTION boxhaul.saga_function_trouble(name text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    f pg_proc;
BEGIN
    BEGIN
        SELECT * INTO f FROM pg_proc p WHERE p.oid = to_regprocedure(format('%s(uuid, text, text, jsonb)', name));
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- no name at all
    END;
    RETURN CASE WHEN f.oid IS NULL THEN format('there is no function %s(saga uuid, step text, dir text, data jsonb)', name)
                WHEN f.prorettype <> 'jsonb'::regtype THEN format('function %s does not return jsonb', name)
                WHEN NOT f.prosecdef THEN format('function %s is not SECURITY DEFINER', name) END;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.saga_wrong_step(name text, why text, hint text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RAISE EXCEPTION 'boxhaul: saga %: %', name, why USING ERRCODE = 'invalid_parameter_value', HINT = hint;
END
$$;

-- One step, checked, with the defaults filled in: equal steps are equal JSON.
CREATE OR REPLACE FUNCTION boxhaul.saga_step(saga text, step jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET intervalstyle = postgres AS $$
DECLARE
    called   text := step ->> 'name';
    known    text[] := '{name,kind,command,undo,deadline,retries,payload,call}';
    stray    text;
    what     text;
    deadline interval;
    is_call  boolean := step ? 'call';
    wrong    record;
BEGIN
    IF jsonb_typeof(step) <> 'object' OR called IS NULL OR called !~ '^[A-Za-z0-9_.-]{1,64}$' THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('a step is an object with a name, not %s', left(step::text, 100)),
            'A name has up to 64 letters, digits, dots, _ and -.');
    END IF;
    step := jsonb_strip_nulls(step);
    SELECT k INTO stray FROM jsonb_object_keys(step) k WHERE k <> ALL (known) LIMIT 1;
    IF stray IS NOT NULL THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s has "%s", which is nothing of a step', called, stray),
                                        'A step has: ' || array_to_string(known, ', ') || '.');
    ELSIF coalesce(step ->> 'kind', '') NOT IN ('undoable', 'pivot', 'retriable') THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s is of no kind', called),
            'kind: undoable (it has an undo, or is harmless), pivot (the one that decides), or retriable (it succeeds in the end).');
    ELSIF is_call = (step ? 'command') THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s needs a command or a call, and not both', called),
            'command: the subject of its command. call: a function of this database that is the step.');
    ELSIF step ? 'undo' AND step ->> 'kind' <> 'undoable' THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s has an undo and is %s', called, step ->> 'kind'),
            'Only an undoable step is ever undone.');
    ELSIF is_call AND step ? 'payload' THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s has a call and a payload', called), 'A call is given the data itself.');
    END IF;
    FOREACH what IN ARRAY ARRAY['command', 'undo'] LOOP
        CONTINUE WHEN NOT step ? what OR is_call;
        SELECT * INTO wrong FROM boxhaul.refusal(step ->> what, NULL, '', NULL);
        IF wrong.why IS NOT NULL THEN
            PERFORM boxhaul.saga_wrong_step(saga, format('step %s: %s is no subject of a message', called, what), wrong.allowed);
        END IF;
    END LOOP;
    FOREACH what IN ARRAY ARRAY['payload', 'call', 'undo'] LOOP
        CONTINUE WHEN NOT step ? what OR what = 'undo' AND NOT is_call;
        stray := boxhaul.saga_function_trouble(step ->> what);
        IF stray IS NULL AND NOT has_function_privilege(session_user, format('%s(uuid, text, text, jsonb)', step ->> what), 'EXECUTE') THEN
            stray := format('%s may not execute function %s', session_user, step ->> what);
        END IF;
        IF stray IS NOT NULL THEN
            PERFORM boxhaul.saga_wrong_step(saga, format('step %s: %s', called, stray),
                'It runs with the rights of its own owner: CREATE FUNCTION schema.name(saga uuid, step text, dir text, data jsonb) '
                'RETURNS jsonb ... SECURITY DEFINER SET search_path = ...');
        END IF;
    END LOOP;
    BEGIN
        deadline := coalesce(step ->> 'deadline', '30 seconds')::interval;
    EXCEPTION WHEN data_exception THEN
        deadline := '0';
    END;
    IF deadline NOT BETWEEN '1 millisecond' AND '10 years' THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s: deadline: %s is no time to wait', called, step ->> 'deadline'),
            'An interval such as "30s" or "2 days". Longer than the usual lag of the participant, or every saga is undone.');
    ELSIF coalesce(step ->> 'retries', '3') !~ '^\d{1,4}$' THEN
        PERFORM boxhaul.saga_wrong_step(saga, format('step %s: retries is a number, 0 to 9999', called),
            'So many times the command is sent again before it counts as unanswered.');
    END IF;
    RETURN step || jsonb_build_object('deadline', deadline::text, 'retries', coalesce(step ->> 'retries', '3')::integer);
END
$$;

-- Define a kind of saga, at every start of the service if you like: the same steps are the same version, other steps are the next one.
-- What runs ends on the version it began with; what is started from now on has this one. Returns the version.
--
-- The order of the kinds is what makes S5 hold: what stands behind the pivot is never undone, so it must not have to be.
CREATE OR REPLACE FUNCTION boxhaul.saga_define(name text, steps jsonb) RETURNS integer
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    whole   jsonb := '[]';
    step    jsonb;
    names   text[] := '{}';
    highest integer := 0;
    rank    integer;
    version integer;
    last    record;
BEGIN
    IF name IS NULL OR name !~ '^[A-Za-z0-9_-]{1,64}$' THEN
        PERFORM boxhaul.saga_wrong_step(coalesce(name, 'NULL'), 'that is no name', 'Up to 64 letters, digits, _ and -.');
    ELSIF jsonb_typeof(steps) IS DISTINCT FROM 'array' OR jsonb_array_length(steps) NOT BETWEEN 1 AND 100 THEN
        PERFORM boxhaul.saga_wrong_step(name, 'steps is an array of 1 to 100 steps',
            '[{"name": "reserve", "kind": "undoable", "command": "stock.reserve", "undo": "stock.release"}, ...]');
    END IF;
    FOR step IN SELECT * FROM jsonb_array_elements(steps) LOOP
        step := boxhaul.saga_step(saga_define.name, step);
        IF step ->> 'name' = ANY (names) THEN
            PERFORM boxhaul.saga_wrong_step(name, format('two steps are called %s', step ->> 'name'),
                'Participants know a step by its name.');
        END IF;
        rank := CASE step ->> 'kind' WHEN 'undoable' THEN 1 WHEN 'pivot' THEN 2 ELSE 3 END;
        IF rank < highest OR rank = 2 AND highest = 2 THEN
            PERFORM boxhaul.saga_wrong_step(name, format('step %s, which is %s, cannot stand behind one that is %s', step ->> 'name',
                    step ->> 'kind', (ARRAY['undoable', 'pivot', 'retriable'])[highest]),
                'First the steps that can be undone, then at most one pivot, then those that succeed in the end: behind the pivot '
                'nothing is undone.');
        END IF;
        highest := rank;
        names := names || (step ->> 'name');
        whole := whole || jsonb_build_array(step);
    END LOOP;
    -- Two services that start at the same moment: one after the other.
    PERFORM pg_advisory_xact_lock(hashtextextended('boxhaul saga ' || name, 0));
    SELECT d.version, d.steps INTO last FROM boxhaul.saga_definition d WHERE d.name = saga_define.name ORDER BY d.turn DESC LIMIT 1;
    IF last.steps = whole THEN
        RETURN last.version;
    END IF;
    -- Steps of an older version, that were put back: it is the one that starts again.
    UPDATE boxhaul.saga_definition d
       SET turn = (SELECT max(x.turn) + 1 FROM boxhaul.saga_definition x WHERE x.name = d.name), defined_at = clock_timestamp()
     WHERE d.name = saga_define.name AND d.steps = whole RETURNING d.version INTO version;
    IF version IS NULL THEN
        INSERT INTO boxhaul.saga_definition AS d (name, version, steps, turn)
        SELECT saga_define.name, coalesce(max(x.version), 0) + 1, whole, coalesce(max(x.turn), 0) + 1
          FROM boxhaul.saga_definition x WHERE x.name = saga_define.name
        RETURNING d.version INTO version;
    END IF;
    RETURN version;
END
$$;

-- S11: a version is what it is from its first moment on, and stays as long as a saga of it does.
CREATE OR REPLACE FUNCTION boxhaul.saga_definition_kept() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.name, NEW.version, NEW.steps) IS NOT DISTINCT FROM (OLD.name, OLD.version, OLD.steps) THEN
        RETURN NEW;
    ELSIF TG_OP = 'DELETE'
      AND NOT EXISTS (SELECT FROM boxhaul.saga s WHERE s.name = OLD.name AND s.version = OLD.version AND s.ended_at IS NULL) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'boxhaul: version % of saga % cannot be changed', OLD.version, OLD.name
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'Call boxhaul.saga_define() with the new steps: they are the next version. What runs ends on its own.';
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                   WHERE tgrelid = 'boxhaul.saga_definition'::regclass AND tgname = 'saga_definition_kept') THEN
        CREATE TRIGGER saga_definition_kept BEFORE UPDATE OR DELETE ON boxhaul.saga_definition
            FOR EACH ROW EXECUTE FUNCTION boxhaul.saga_definition_kept();
    END IF;
END
$$;

-- The daemon says what is configured, when it begins.
CREATE OR REPLACE FUNCTION boxhaul.saga_configure(replies text, retention interval) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    wrong record;
BEGIN
    SELECT * INTO wrong FROM boxhaul.refusal(replies, NULL, '', NULL);
    IF wrong.why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: % is no subject for the answers of sagas', coalesce(replies, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = wrong.allowed;
    END IF;
    INSERT INTO boxhaul.saga_settings AS s (replies, retention) VALUES (saga_configure.replies, saga_configure.retention)
    ON CONFLICT (one) DO UPDATE SET replies = excluded.replies, retention = excluded.retention, configured_at = clock_timestamp()
     WHERE (s.replies, s.retention) IS DISTINCT FROM (excluded.replies, excluded.retention);
END
$$;

-- The configuration has another subject for answers, or another stream. A command carries the subject to which it is answered, so while a
-- saga is open answers may come to the old one. While none is, nobody waits for an answer, and none stands under the new subject, for no
-- command has carried it: nothing is passed over. A start that is not committed yet is not seen; its command is sent again at its deadline,
-- with the new subject.
CREATE OR REPLACE FUNCTION boxhaul.saga_replies_move(s boxhaul.subscription, stream text, subjects text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    old text := array_to_string(s.subjects, ', ');
    new text := array_to_string(subjects, ', ');
BEGIN
    IF s.stream <> stream THEN
        RAISE EXCEPTION 'boxhaul: the answers of sagas are taken from stream %, and not from %', s.stream, stream
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Set sagas.stream = "%s" until `boxhaul sagas list --open` shows none. Then stop the daemon, SELECT '
                                'boxhaul.inbox_drop(''sagas.replies''), and start it with the other stream.', s.stream);
    ELSIF EXISTS (SELECT FROM boxhaul.saga x WHERE x.ended_at IS NULL) THEN
        RAISE EXCEPTION 'boxhaul: sagas are open, and are answered to %: answers to % are not taken yet', old, new
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Set sagas.replies = "%s" until `boxhaul sagas list --open` shows none: then the change is taken. Or change '
                                'it now, and what is still answered to the old subject is asked for again at its deadline: SELECT '
                                'boxhaul.inbox_subjects(''sagas.replies'', %L).', old, subjects::text);
    END IF;
    PERFORM boxhaul.inbox_subjects(s.name, subjects);
END
$$;

-- --- the machine ---

-- S3: the step to undo, from `from_step` downwards; -1: none. Steps without an undo were declared harmless and are passed over. It only
-- goes down, and saga_event asks it only for the step below the one that has answered: so the order is the reverse.
CREATE OR REPLACE FUNCTION boxhaul.saga_undo_at(steps jsonb, from_step integer) RETURNS integer
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    FOR i IN REVERSE from_step .. 0 LOOP
        IF steps -> i ? 'undo' THEN
            RETURN i;
        END IF;
    END LOOP;
    RETURN -1;
END
$$;

-- 1 s, doubled with each attempt, up to a minute and a bit: for what is asked again because it did not work.
CREATE OR REPLACE FUNCTION boxhaul.saga_back_off(attempt integer) RETURNS interval
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN '1 second'::interval * (1 << least(greatest(attempt - 1, 0), 6));
END
$$;

-- The row of a saga, locked, and written back. The plans of both are pinned, here and not around what they are used for: a statistic from
-- when there were ten sagas must not make a million be read for one, and a saga's own functions are planned as ever.
CREATE OR REPLACE FUNCTION boxhaul.saga_hold(id uuid) RETURNS boxhaul.saga
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    s boxhaul.saga;
BEGIN
    SELECT * INTO s FROM boxhaul.saga x WHERE x.id = saga_hold.id FOR UPDATE;
    RETURN s;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.saga_store(s boxhaul.saga) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    UPDATE boxhaul.saga x
       SET state = s.state, step = s.step, reached = s.reached, attempt = s.attempt, sent = s.sent, failures = s.failures, due = s.due,
           due_at = s.due_at, deadline = s.deadline, asked_at = s.asked_at, stuck = s.stuck, stuck_since = s.stuck_since, error = s.error,
           cancelled = s.cancelled, data = s.data, reason = s.reason, log_n = s.log_n, ended_at = s.ended_at
     WHERE x.id = s.id;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.saga_note(INOUT s boxhaul.saga, at timestamptz, event text, action text, step text, dir text,
                                             attempt integer, detail text, reply jsonb, message bigint, message_id uuid)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    s.log_n := s.log_n + 1;
    INSERT INTO boxhaul.saga_log (saga, n, at, event, action, step, dir, attempt, detail, reply, message, message_id)
    VALUES (s.id, s.log_n, saga_note.at, saga_note.event, saga_note.action, saga_note.step, saga_note.dir, saga_note.attempt,
            left(saga_note.detail, 4000), saga_note.reply, saga_note.message, saga_note.message_id);
END
$$;

-- A function of a step, in the transaction that calls it.
CREATE OR REPLACE FUNCTION boxhaul.saga_call(function text, s boxhaul.saga, step text, dir text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    wrong  text := boxhaul.saga_function_trouble(function);
    answer jsonb;
BEGIN
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: %', wrong USING ERRCODE = 'undefined_function';
    END IF;
    EXECUTE format('SELECT %s($1, $2, $3, $4)', to_regprocedure(format('%s(uuid, text, text, jsonb)', function))::regproc)
       INTO answer USING s.id, step, dir, s.data;
    RETURN answer;
END
$$;

-- The command of the step at which the saga stands, in its direction, as a row of the outbox: in the transaction of the transition (S1).
-- All commands of a saga have its id as key, so they are stored in the order in which they were sent.
CREATE OR REPLACE FUNCTION boxhaul.saga_command(INOUT s boxhaul.saga, step jsonb, at timestamptz)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    to_do   text := CASE s.state WHEN 'running' THEN 'do' ELSE 'undo' END;
    replies text := (SELECT c.replies FROM boxhaul.saga_settings c);
    body    jsonb := s.data;
    row_    record;
BEGIN
    IF replies IS NULL THEN
        RAISE EXCEPTION 'boxhaul: nobody has said where the answers of sagas go'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Give the daemon of this database the group sagas in its configuration and start it: it takes the answers, and '
                         'is the clock.';
    END IF;
    IF step ? 'payload' THEN
        body := boxhaul.saga_call(step ->> 'payload', s, step ->> 'name', to_do);
        IF body IS NULL THEN
            RAISE EXCEPTION 'boxhaul: function % returned NULL, which is no body of a command', step ->> 'payload'
                USING ERRCODE = 'null_value_not_allowed';
        END IF;
    END IF;
    INSERT INTO boxhaul.outbox AS o (subject, key, payload, headers, boxhaul_headers)
    VALUES (step ->> CASE to_do WHEN 'do' THEN 'command' ELSE 'undo' END, s.id::text, convert_to(body::text, 'UTF8'),
            CASE WHEN s.traceparent IS NOT NULL THEN jsonb_build_object('traceparent', s.traceparent) END,
            jsonb_build_object('Boxhaul-Saga', s.id::text, 'Boxhaul-Step', step ->> 'name', 'Boxhaul-Dir', to_do,
                               'Boxhaul-Attempt', s.attempt::text, 'Boxhaul-Reply-To', replies,
                               -- Of a do: since when it is asked for. Of an undo: since when it may have been done. See saga_accept.
                               'Boxhaul-Since', round(extract(epoch FROM CASE to_do WHEN 'do' THEN s.asked_at ELSE s.started_at END)
                                                      * 1000)::bigint::text))
    RETURNING o.id, o.message_id INTO row_;
    s := boxhaul.saga_note(s, at, 'sent', 'sent', step ->> 'name', to_do, s.attempt, NULL, NULL, row_.id, row_.message_id);
    s.sent := true;
    s.reached := greatest(s.reached, s.step);
END
$$;

-- Send the command, or do the local step. came: sent, or, of a local step, done or refused, or failed. strict: what a function raises
-- goes up to whoever starts a saga. Else it is of this saga alone: it is rolled back to here and shown.
--
-- alone: nothing else is in this transaction but what boxhaul does, so constraints that are checked at its end are checked here already.
-- At the commit it would be too late to say whose they are: the answer before a local step would be parked in its place, and its saga be
-- undone for no answer in time. In the transaction of a service they are left as they are, for it may have to write more to keep them.
--
-- Only what calls a function of the service, or is large enough for the outbox to refuse it, has a savepoint: 64 of them in one
-- transaction slow down every snapshot of the server.
CREATE OR REPLACE FUNCTION boxhaul.saga_send(INOUT s boxhaul.saga, step jsonb, at timestamptz, strict boolean, alone boolean,
                                             OUT came text, OUT reply jsonb, OUT error text)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    to_do text := CASE s.state WHEN 'running' THEN 'do' ELSE 'undo' END;
    -- Without undo, where it is undone, nothing is sent: saga_event never comes here with such a step.
    local text := CASE WHEN step ? 'call' THEN step ->> CASE to_do WHEN 'do' THEN 'call' ELSE 'undo' END END;
    refused_by text;
BEGIN
    IF strict OR local IS NULL AND NOT step ? 'payload' AND octet_length(s.data::text) < 4000 THEN
        IF local IS NULL THEN
            s := boxhaul.saga_command(s, step, at);
            came := 'sent';
        ELSE
            reply := boxhaul.saga_call(local, s, step ->> 'name', to_do);
            came := 'done';
        END IF;
        RETURN;
    END IF;
    BEGIN
        IF alone THEN
            SET CONSTRAINTS ALL DEFERRED;  -- the step of another saga may have been here
        END IF;
        IF local IS NULL THEN
            s := boxhaul.saga_command(s, step, at);
            came := 'sent';
        ELSE
            reply := boxhaul.saga_call(local, s, step ->> 'name', to_do);
            came := 'done';
        END IF;
        IF alone THEN
            SET CONSTRAINTS ALL IMMEDIATE;
        END IF;
    EXCEPTION
        WHEN SQLSTATE 'BXREF' THEN
            came := CASE WHEN local IS NULL THEN 'failed' ELSE 'refused' END;
            error := sqlerrm;
        WHEN OTHERS THEN
            IF boxhaul.inbox_is_outage(sqlstate) THEN
                RAISE;  -- says nothing about this saga: the whole is tried again
            END IF;
            came := 'failed';
            GET STACKED DIAGNOSTICS refused_by = CONSTRAINT_NAME;
            -- The row's name for it says nothing of a saga. An undo is as large as what went before it.
            error := CASE WHEN local IS NULL AND refused_by = 'outbox_size' THEN
                         format('the command of step %s is larger than a message may be: its data has %s bytes, with all that was answered',
                                step ->> 'name', octet_length(s.data::text))
                     ELSE format('%s (%s)', sqlerrm, sqlstate) END;
    END;
END
$$;

-- It has ended: no deadline any more (S9), and what it had locked is free in the same transaction.
CREATE OR REPLACE FUNCTION boxhaul.saga_end(INOUT s boxhaul.saga, ended text, at timestamptz)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
BEGIN
    s.state := ended;
    s.ended_at := at;
    s.due_at := NULL;
    s.stuck := NULL;
    s.stuck_since := NULL;
    s.error := NULL;
    s.cancelled := NULL;
    IF cardinality(s.locks) > 0 THEN
        DELETE FROM boxhaul.saga_lock k WHERE k.resource = ANY (s.locks) AND k.saga = s.id;
    END IF;
END
$$;

-- Shown as stuck. Since when: since it first was.
CREATE OR REPLACE FUNCTION boxhaul.saga_be_stuck(INOUT s boxhaul.saga, why text, at timestamptz)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    s.stuck := why;
    s.stuck_since := CASE WHEN why IS NOT NULL THEN coalesce(s.stuck_since, at) END;
END
$$;

-- The saga stands at another step, or turns round: attempt 1, nothing sent, nothing stuck.
--
-- S4: this is the only way to another step, and saga_event comes here from the lines next, back and undo_this alone. Each of these is
-- taken on the answer of the step at which the saga stands, or, undo_this, goes to that very step: so whatever was sent behind the new
-- step is undone, was refused, or (going forward) is not sent yet.
CREATE OR REPLACE FUNCTION boxhaul.saga_go(INOUT s boxhaul.saga, to_state text, to_step integer, at timestamptz)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    s.state := to_state;
    s.step := to_step;
    s.attempt := 1;
    s.sent := false;
    s.failures := 0;
    s.asked_at := at;
    s.stuck := NULL;
    s.stuck_since := NULL;
    s.error := NULL;
    s.cancelled := NULL;
END
$$;

-- What is asked for is on its way: answer it within the deadline, which is doubled with each attempt, up to 64 times.
CREATE OR REPLACE FUNCTION boxhaul.saga_await(INOUT s boxhaul.saga, step jsonb, at timestamptz)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    s.due := 'timeout';
    s.due_at := at + (step ->> 'deadline')::interval * (1 << least(s.attempt - 1, 6));
    s.deadline := NULL;
    s.failures := 0;
    IF s.stuck = 'failed' THEN
        s.stuck := NULL;
        s.error := NULL;
    END IF;
    -- S10, whoever has asked so often.
    s := boxhaul.saga_be_stuck(s, coalesce(s.stuck, CASE WHEN s.attempt > (step ->> 'retries')::integer + 1 THEN 'exhausted' END), at);
END
$$;

-- One event of a saga whose row the caller has locked and read under that lock: what saga_transition() says, with its log, its command
-- and its state, in this transaction. A local step answers in the same moment, so that one event may be followed by others. Returns the
-- saga, and the first action. attempt: of the answer, 0 = none. strict, alone: see saga_send.
CREATE OR REPLACE FUNCTION boxhaul.saga_event(INOUT s boxhaul.saga, event text, fits boolean, attempt integer, at timestamptz,
                                              detail text, reply jsonb, strict boolean, alone boolean, OUT action text)
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    steps jsonb := (SELECT d.steps FROM boxhaul.saga_definition d WHERE d.name = s.name AND d.version = s.version);
    step  jsonb;
    word  text;
    back  integer;
    made  record;
BEGIN
    IF steps IS NULL THEN
        RAISE EXCEPTION 'boxhaul: saga % is of version % of %, and there is no such definition', s.id, s.version, s.name
            USING ERRCODE = 'undefined_object', HINT = 'Call boxhaul.saga_define() with the steps of that version, and update none.';
    END IF;
    LOOP
        step := steps -> s.step;
        back := boxhaul.saga_undo_at(steps, s.step - 1);
        IF fits THEN
            -- An answer to a later attempt than we know of is one to this step all the same. The attempt never goes back.
            s.attempt := greatest(s.attempt, attempt);
        END IF;
        word := boxhaul.saga_transition(s.state, step ->> 'kind', event, fits, s.attempt <= (step ->> 'retries')::integer, back < 0,
                                        s.step = jsonb_array_length(steps) - 1, s.cancelled IS NOT NULL,
                                        s.stuck IS NOT DISTINCT FROM 'orphan');
        action := coalesce(action, word);
        IF word IS NULL THEN
            RAISE EXCEPTION 'boxhaul: % is no event of a saga', event USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF word IN ('next', 'complete') AND s.cancelled IS NOT NULL THEN
            detail := concat_ws('; ', detail, 'the cancel is refused, for the pivot is done');
        END IF;
        s := boxhaul.saga_note(s, at, event, word, step ->> 'name',
                               CASE s.state WHEN 'running' THEN 'do' WHEN 'undoing' THEN 'undo' END,
                               CASE WHEN attempt > 0 THEN attempt ELSE s.attempt END, detail, reply, NULL, NULL);
        IF event IN ('done', 'resolve_done') AND s.state = 'running' AND word <> 'ignore' AND reply IS NOT NULL THEN
            s.data := s.data || CASE jsonb_typeof(reply) WHEN 'object' THEN reply ELSE jsonb_build_object(step ->> 'name', reply) END;
        END IF;
        IF s.state = 'running' AND word IN ('back', 'undo_this', 'undone') THEN
            s.reason := coalesce(detail, format('%s: %s', step ->> 'name',
                                                CASE event WHEN 'timeout' THEN 'no answer in time' ELSE event END));
        END IF;
        CASE word
            WHEN 'ignore', 'refuse', 'already' THEN
                EXIT;
            WHEN 'orphan' THEN
                s := boxhaul.saga_be_stuck(s, 'orphan', at);
                s.error := detail;
                s.due_at := CASE WHEN s.ended_at IS NULL THEN 'infinity'::timestamptz END;
                EXIT;
            WHEN 'clear' THEN
                s := boxhaul.saga_be_stuck(s, NULL, at);
                s.error := NULL;
                EXIT;
            WHEN 'mark' THEN
                s.cancelled := coalesce(detail, 'cancelled');
                EXIT;
            WHEN 'wait', 'wait_stuck' THEN
                -- By the clock, never in the transaction of the answer: a participant that always answers error would be asked as fast
                -- as messages travel.
                s.error := detail;
                IF event = 'failed' THEN
                    s.failures := s.failures + 1;
                END IF;
                s.due := CASE event WHEN 'failed' THEN 'resend' ELSE 'repeat' END;
                s.due_at := at + boxhaul.saga_back_off(CASE event WHEN 'failed' THEN s.failures ELSE s.attempt END);
                IF word = 'wait_stuck' THEN
                    s := boxhaul.saga_be_stuck(s, CASE event WHEN 'error' THEN 'exhausted' ELSE event END, at);  -- S10
                END IF;
                EXIT;
            WHEN 'complete' THEN
                s := boxhaul.saga_end(s, 'completed', at);
                EXIT;
            WHEN 'undone' THEN
                s := boxhaul.saga_end(s, 'undone', at);
                EXIT;
            WHEN 'next' THEN
                s := boxhaul.saga_go(s, 'running', s.step + 1, at);
            WHEN 'back' THEN
                s := boxhaul.saga_go(s, 'undoing', back, at);
            WHEN 'undo_this' THEN
                -- A local step at which a saga stands was not done: what it did was rolled back with its error.
                IF step ? 'undo' AND (NOT step ? 'call' OR event IN ('done', 'resolve_done')) THEN
                    back := s.step;
                END IF;
                IF back < 0 THEN
                    s := boxhaul.saga_end(s, 'undone', at);
                    EXIT;
                END IF;
                s := boxhaul.saga_go(s, 'undoing', back, at);
            WHEN 'again', 'again_stuck' THEN
                s.attempt := s.attempt + 1;
                IF word = 'again_stuck' THEN
                    s := boxhaul.saga_be_stuck(s, 'exhausted', at);  -- S10
                END IF;
            WHEN 'send' THEN
                NULL;
        END CASE;
        step := steps -> s.step;
        made := boxhaul.saga_send(s, step, at, strict, alone);
        s := made.s;
        IF made.came = 'sent' THEN
            s := boxhaul.saga_await(s, step, at);
            EXIT;
        END IF;
        event := made.came;
        fits := true;
        attempt := 0;
        detail := made.error;
        reply := made.reply;
    END LOOP;
    PERFORM boxhaul.saga_store(s);
END
$$;

-- --- how the clock hears of the first saga ---

-- 2: no saga is open, the clock sleeps, and whoever starts one notifies it. 1: it looks by itself. A sequence, as boxhaul.relay_asleep
-- is: everybody sees a change at once, in whatever snapshot.
CREATE SEQUENCE IF NOT EXISTS boxhaul.saga_asleep AS bigint MINVALUE 1 MAXVALUE 2 CYCLE;

CREATE OR REPLACE FUNCTION boxhaul.saga_waker() RETURNS bigint
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT hashtextextended('boxhaul saga starts', 0)
$$;

-- A saga was started by this transaction. The shared lock says so to a clock that is about to sleep, until the transaction has ended; it
-- is taken before the flag is read. Nobody ever holds the other one for longer than it takes to give it back.
--
-- A transaction that has executed NOTIFY cannot be prepared, so where the server allows that the clock never sleeps. With a queue that is
-- half full the notification is left out, for no transaction of a service may fail for its sake: the daemon looks now and then.
CREATE OR REPLACE FUNCTION boxhaul.saga_wake() RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(boxhaul.saga_waker());
    IF pg_sequence_last_value('boxhaul.saga_asleep') = 2 AND pg_notification_queue_usage() < 0.5
       AND current_setting('max_prepared_transactions')::integer = 0 THEN
        PERFORM pg_notify('boxhaul_saga', '');
    END IF;
END
$$;

-- May the clock sleep until it is notified? The caller has seen no open saga. Whoever started one and did not see the flag took the
-- shared lock before the flag was set. So if nobody has that lock now, each of them has ended, and what they committed is seen by a
-- look behind it. If somebody has it, the flag stands: the clock looks once more in a while. The lock is only tried, so nobody is waited
-- for, and given back at once.
CREATE OR REPLACE FUNCTION boxhaul.saga_sleep() RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF current_setting('max_prepared_transactions')::integer > 0 THEN
        RETURN false;
    END IF;
    PERFORM setval('boxhaul.saga_asleep', 2);
    IF NOT pg_try_advisory_lock(boxhaul.saga_waker()) THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_unlock(boxhaul.saga_waker());
    RETURN boxhaul.saga_next_due() IS NULL;
END
$$;

-- --- what a service calls ---

-- Start a saga, in the transaction that changes your rows: it begins with its commit, or not at all (S12: whatever this writes, the
-- command included, are rows of this transaction). key: what it is about. data: what the commands say; answers are merged into it.
-- locks: resources that no other open saga of this database may have; the one that has it is told (SQLSTATE 55006).
CREATE OR REPLACE FUNCTION boxhaul.saga_start(name text, key text, data jsonb DEFAULT '{}', locks text[] DEFAULT '{}',
                                              traceparent text DEFAULT NULL) RETURNS uuid
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s     boxhaul.saga;
    d     boxhaul.saga_definition;
    made  record;
    taken text[];
    other record;
BEGIN
    SELECT * INTO d FROM boxhaul.saga_definition x WHERE x.name = saga_start.name ORDER BY x.turn DESC LIMIT 1;
    IF d.name IS NULL THEN
        RAISE EXCEPTION 'boxhaul: there is no saga %', coalesce(name, 'NULL')
            USING ERRCODE = 'undefined_object', HINT = 'Define it first: SELECT boxhaul.saga_define(name, steps).';
    ELSIF NOT EXISTS (SELECT FROM boxhaul.saga_settings) THEN
        RAISE EXCEPTION 'boxhaul: sagas are not configured in this database'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Give the daemon of this database the group sagas in its configuration and start it: it takes the answers, and '
                         'is the clock.';
    ELSIF key IS NULL OR jsonb_typeof(data) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'boxhaul: a saga has a key, and its data is a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    s.id := gen_random_uuid();
    s.name := d.name;
    s.version := d.version;
    s.key := saga_start.key;
    s.started_at := clock_timestamp();
    s.data := saga_start.data;
    -- In one order, so that two starts that want the same two do not wait for each other.
    s.locks := ARRAY(SELECT DISTINCT x COLLATE "C" FROM unnest(saga_start.locks) x WHERE x IS NOT NULL ORDER BY 1);
    s.traceparent := substring(saga_start.traceparent FROM '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');
    s.reached := -1;
    s.due := 'resend';  -- one whose steps are all local has ended before it ever waits for anything
    s.log_n := 0;
    s := boxhaul.saga_go(s, 'running', 0, s.started_at);
    IF cardinality(s.locks) > 0 THEN
        WITH won AS (INSERT INTO boxhaul.saga_lock (resource, saga) SELECT r, s.id FROM unnest(s.locks) WITH ORDINALITY AS l (r, n)
                      ORDER BY l.n ON CONFLICT DO NOTHING RETURNING resource)
        SELECT array_agg(w.resource) INTO taken FROM won w;
        IF cardinality(s.locks) > coalesce(cardinality(taken), 0) THEN
            SELECT k.resource, x.id, x.name, x.key INTO other
              FROM boxhaul.saga_lock k JOIN boxhaul.saga x ON x.id = k.saga
             WHERE k.resource = ANY (s.locks) AND k.saga <> s.id ORDER BY k.resource LIMIT 1;
            RAISE EXCEPTION 'boxhaul: % is locked by another saga', coalesce(other.resource, 'a resource of this saga')
                USING ERRCODE = 'object_in_use',
                      DETAIL = format('It is saga %s (%s, %s).', other.id, other.name, other.key),
                      HINT = 'It is free when that saga has ended: SELECT * FROM boxhaul.sagas shows how it stands.';
        END IF;
    END IF;
    INSERT INTO boxhaul.saga (id, name, version, key, state, step, reached, attempt, sent, due, due_at, asked_at, data, locks,
                              traceparent, started_at)
    VALUES (s.id, s.name, s.version, s.key, s.state, s.step, s.reached, s.attempt, s.sent, 'resend', s.started_at, s.asked_at, s.data,
            s.locks, s.traceparent, s.started_at);
    s := boxhaul.saga_note(s, s.started_at, 'started', 'sent', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    made := boxhaul.saga_event(s, 'resend', true, 0, s.started_at, NULL, NULL, true, false);
    PERFORM boxhaul.saga_wake();
    RETURN s.id;
END
$$;

-- One of which there are answers only, and no saga, is shown: so it is not said that there is nothing.
CREATE OR REPLACE FUNCTION boxhaul.saga_unknown(id uuid) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF EXISTS (SELECT FROM boxhaul.saga_orphan o WHERE o.saga = saga_unknown.id AND o.resolved_at IS NULL) THEN
        RAISE EXCEPTION 'boxhaul: saga % is not on record: there are only answers to it', id
            USING ERRCODE = 'undefined_object',
                  HINT = 'Its participants may hold what they did for it: look at them. Then boxhaul.saga_resolve() sets the answers aside.';
    END IF;
    RAISE EXCEPTION 'boxhaul: there is no saga %', coalesce(id::text, 'NULL')
        USING ERRCODE = 'undefined_object', HINT = 'SELECT id, name, key, state FROM boxhaul.sagas lists them.';
END
$$;

-- Cancel it: undo what was done. Returns undone; undoing; waiting: the pivot is under way, and its answer decides; refused: it is too
-- late, for the pivot is done.
CREATE OR REPLACE FUNCTION boxhaul.saga_cancel(id uuid, reason text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s boxhaul.saga;
    e record;
BEGIN
    s := boxhaul.saga_hold(id);
    IF s.id IS NULL THEN
        PERFORM boxhaul.saga_unknown(id);
    END IF;
    e := boxhaul.saga_event(s, 'cancel', s.sent, 0, clock_timestamp(), coalesce(reason, 'cancelled'), NULL, false, false);
    RETURN CASE e.action WHEN 'mark' THEN 'waiting' WHEN 'refuse' THEN 'refused' ELSE (e.s).state END;
END
$$;

-- --- answers ---

-- The header of a message; of several of one name the first.
CREATE OR REPLACE FUNCTION boxhaul.saga_header(headers jsonb, name text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN CASE WHEN jsonb_typeof(headers -> name) = 'array' THEN headers -> name ->> 0 ELSE headers ->> name END;
END
$$;

-- What a command or an answer says of itself. Raises where that is nothing of a saga.
CREATE OR REPLACE FUNCTION boxhaul.saga_read(r boxhaul.inbox, OUT saga uuid, OUT step text, OUT dir text, OUT attempt integer,
                                             OUT since timestamptz)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    id    text := boxhaul.saga_header(r.headers, 'Boxhaul-Saga');
    tries text := boxhaul.saga_header(r.headers, 'Boxhaul-Attempt');
    stamp text := boxhaul.saga_header(r.headers, 'Boxhaul-Since');
BEGIN
    step := boxhaul.saga_header(r.headers, 'Boxhaul-Step');
    dir := boxhaul.saga_header(r.headers, 'Boxhaul-Dir');
    IF id IS NULL OR id !~ '^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$' OR step IS NULL
       OR coalesce(dir, '') NOT IN ('do', 'undo') OR coalesce(tries, '') !~ '^[1-9][0-9]{0,8}$' THEN
        RAISE EXCEPTION 'boxhaul: message % on % is no command and no answer of a saga', r.seq, r.subject
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It needs the headers Boxhaul-Saga (a uuid), Boxhaul-Step, Boxhaul-Dir (do, undo) and Boxhaul-Attempt. Does this '
                         'subscription take other subjects too?';
    END IF;
    saga := id::uuid;
    attempt := tries::integer;
    IF stamp ~ '^[0-9]{1,15}$' THEN
        since := to_timestamp(stamp::float8 / 1000);
    END IF;
END
$$;

-- Is this an answer to a command that was never sent? Sent were: do, of every step up to `reached`; undo, of every step from the one at
-- which it stands up to that. (An answer that this misses, to a step that was passed over, is late at worst.)
CREATE OR REPLACE FUNCTION boxhaul.saga_is_unsent(s boxhaul.saga, steps jsonb, step text, dir text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    place integer;
BEGIN
    SELECT x.n - 1 INTO place FROM jsonb_array_elements(steps) WITH ORDINALITY AS x (step, n) WHERE x.step ->> 'name' = saga_is_unsent.step;
    RETURN place IS NULL OR place > s.reached
        OR dir = 'undo' AND (s.state IN ('running', 'completed')
                             OR s.state = 'undoing' AND (place < s.step OR place = s.step AND NOT s.sent));
END
$$;

-- Does this answer deny what was answered before? Then its participant has lost history: a failover took back what it did, it has taken
-- the command from the stream again, and it came to another end. So either a step is denied that was done, or one is done that was
-- refused, and therefore passed over. Going on would end a saga as completed, or undone, whose steps are not.
--
-- Late is another thing, and no denial: an error of an attempt before the one that was done, and what no state asks about any more (a
-- do that is refused because it was undone). Nor is it one if the participant says that it cleaned away what it knew.
CREATE OR REPLACE FUNCTION boxhaul.saga_is_denial(s boxhaul.saga, step text, dir text, outcome text, attempt integer, reply jsonb)
    RETURNS boolean
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    forward boolean := s.state IN ('running', 'completed');
BEGIN
    IF outcome = 'done' THEN
        RETURN dir = 'do' AND NOT forward AND EXISTS (
            SELECT FROM boxhaul.saga_log l
             WHERE l.saga = s.id AND l.step = saga_is_denial.step AND l.dir = 'do' AND l.action IN ('back', 'undone')
               AND l.event IN ('refused', 'resolve_refused', 'resolve_undone'));
    END IF;
    RETURN (dir = 'do') = forward AND NOT coalesce(jsonb_typeof(reply) = 'object' AND reply ? 'cleaned', false) AND EXISTS (
        SELECT FROM boxhaul.saga_log l
         WHERE l.saga = s.id AND l.step = saga_is_denial.step AND l.dir = saga_is_denial.dir AND l.event = 'done'
           AND l.action NOT IN ('ignore', 'orphan') AND l.attempt <= saga_is_denial.attempt);
END
$$;

-- An answer to a saga that is not on record. One whose saga may have been cleaned away is late, and no more. Any other is kept.
CREATE OR REPLACE FUNCTION boxhaul.saga_keep_orphan(saga uuid, step text, dir text, attempt integer, outcome text, reply jsonb,
                                                    since timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF since < (SELECT c.sagas_before FROM boxhaul.saga_count c) THEN
        RETURN 'ignore';
    END IF;
    INSERT INTO boxhaul.saga_orphan AS o (saga, step, dir, outcome, attempt, reply)
    VALUES (saga_keep_orphan.saga, saga_keep_orphan.step, saga_keep_orphan.dir, saga_keep_orphan.outcome, saga_keep_orphan.attempt,
            saga_keep_orphan.reply)
    ON CONFLICT ON CONSTRAINT saga_orphan_pkey DO UPDATE SET times = o.times + 1, attempt = greatest(o.attempt, excluded.attempt);
    RETURN 'orphan';
END
$$;

-- The handler of the subscription that takes answers. Returns what came of it, a word of saga_transition().
--
-- S1: the row is locked first and read under that lock. The same answer again finds the saga at another step, or ended. An answer to an
-- older attempt counts, for the work is the same; one to another step or direction never does.
CREATE OR REPLACE FUNCTION boxhaul.saga_reply(r boxhaul.inbox) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    m       record;
    s       boxhaul.saga;
    steps   jsonb;
    outcome text := boxhaul.saga_header(r.headers, 'Boxhaul-Outcome');
    reply   jsonb;
    why     text;
    here    boolean;
    e       record;
BEGIN
    m := boxhaul.saga_read(r);
    IF coalesce(outcome, '') NOT IN ('done', 'refused', 'error') THEN
        RAISE EXCEPTION 'boxhaul: message % on % is no answer of a step: its outcome is %', r.seq, r.subject, coalesce(outcome, 'missing')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Boxhaul-Outcome: done, refused or error.';
    END IF;
    BEGIN
        reply := CASE WHEN length(r.payload) > 0 THEN convert_from(r.payload, 'UTF8')::jsonb END;
    EXCEPTION WHEN data_exception OR character_not_in_repertoire OR untranslatable_character OR program_limit_exceeded THEN
        NULL;  -- the outcome is in the header: a body that is no JSON, or nested too deep, only says nothing
    END;
    reply := nullif(nullif(reply, 'null'), '{}');
    why := CASE WHEN outcome <> 'done'
                THEN coalesce(nullif(left(coalesce(reply ->> 'reason', reply ->> 'error', reply #>> '{}'), 1000), ''),
                              m.step || ': ' || outcome) END;
    s := boxhaul.saga_hold(m.saga);
    IF s.id IS NULL THEN
        RETURN boxhaul.saga_keep_orphan(m.saga, m.step, m.dir, m.attempt, outcome, reply, m.since);
    END IF;
    steps := (SELECT d.steps FROM boxhaul.saga_definition d WHERE d.name = s.name AND d.version = s.version);
    IF boxhaul.saga_is_unsent(s, steps, m.step, m.dir) THEN
        e := boxhaul.saga_event(s, 'unsent', false, m.attempt, clock_timestamp(),
                                format('%s %s was answered %s (attempt %s), and was never asked for', m.dir, m.step, outcome, m.attempt),
                                reply, false, false);
        RETURN e.action;
    END IF;
    IF boxhaul.saga_is_denial(s, m.step, m.dir, outcome, m.attempt, reply) THEN
        e := boxhaul.saga_event(s, 'unsent', false, m.attempt, clock_timestamp(),
                                format('%s %s was answered %s (attempt %s), which denies an answer before', m.dir, m.step, outcome,
                                       m.attempt),
                                reply, false, false);
        RETURN e.action;
    END IF;
    here := s.sent AND steps -> s.step ->> 'name' = m.step
            AND m.dir = CASE s.state WHEN 'running' THEN 'do' WHEN 'undoing' THEN 'undo' END;
    IF NOT coalesce(here, false) THEN
        -- It is of another step, and stands in the log as such.
        s := boxhaul.saga_note(s, clock_timestamp(), outcome, 'ignore', m.step, m.dir, m.attempt, why, reply, NULL, NULL);
        PERFORM boxhaul.saga_store(s);
        RETURN 'ignore';
    END IF;
    -- An error of an older attempt says nothing: a newer one is on its way. Nor does a second one while the clock waits to ask again.
    e := boxhaul.saga_event(s, outcome, outcome <> 'error' OR m.attempt >= s.attempt AND s.due = 'timeout', m.attempt, clock_timestamp(),
                            why, reply, false,
                            -- Not received, but given by handle(): it is the daemon that calls.
                            split_part(current_setting('boxhaul.received', true), ' ', 1)
                            IS DISTINCT FROM pg_current_xact_id_if_assigned()::text);
    RETURN e.action;
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.saga_reply(subscription text, lane integer, id bigint) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN boxhaul.saga_reply(boxhaul.saga_received(subscription, lane, id));
END
$$;

-- --- the clock ---

-- A deadline says that no answer has come. Where one may stand in the inbox that came in time, nobody can say so: its lane is held up by a
-- local step behind another saga's answer, by a transaction of the service that has another saga's row, or it is parked. The saga would be
-- undone for "no answer in time", and its answer be of no use. So such a deadline is put off, and is no event: no row of the log, and no
-- attempt.
--
-- S2 gains by it: a step that was done is not undone for a lane that stands. It comes in the end: what is compared is the deadline as it
-- first was, and as many answers as came before that are a finite number. Each is handled, or parked and then dead; the lane goes on, and
-- its first answer then is one that came later. Put off: a second, later as long again as it is late, ten seconds at most, so that sagas
-- without number behind a lane that stands for long are not written each second. A look costs the same however many answers wait.
CREATE OR REPLACE FUNCTION boxhaul.saga_put_off(s boxhaul.saga, now timestamptz) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    s.deadline := coalesce(s.deadline, s.due_at);
    IF s.due <> 'timeout' OR NOT boxhaul.inbox_may_wait('sagas.replies', s.id::text, s.deadline) THEN
        RETURN false;
    END IF;
    s.due_at := saga_put_off.now + least(greatest(saga_put_off.now - s.deadline, '1 second'), '10 seconds');
    PERFORM boxhaul.saga_store(s);
    RETURN true;
END
$$;

-- The event of one saga that is due; NULL: it is put off. In a function of its own, so that each has a savepoint of its own.
CREATE OR REPLACE FUNCTION boxhaul.saga_due(id uuid, now timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s boxhaul.saga;
    e record;
BEGIN
    s := boxhaul.saga_hold(id);
    IF boxhaul.saga_put_off(s, saga_due.now) THEN
        RETURN NULL;
    END IF;
    e := boxhaul.saga_event(s, s.due, true, 0, saga_due.now, NULL, NULL, false, true);
    -- Whatever else was put off to the commit, by a trigger for instance: there it would be too late to say whose it is.
    SET CONSTRAINTS ALL IMMEDIATE;
    RETURN e.action;
END
$$;

-- Sagas that are due, locked, the earliest first. Found by an index of open sagas alone, in the order of due_at: it costs what is due,
-- however many are open and however many have ended. The plan is pinned here, and not for what a saga's own functions do.
--
-- S6: a row is locked before it is looked at, so of two clocks only one sees it due; the other passes it over (SKIP LOCKED) or, if it comes
-- later, sees the new due_at.
CREATE OR REPLACE FUNCTION boxhaul.saga_take_due(now timestamptz, most integer, OUT id uuid, OUT due text, OUT due_at timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT s.id, s.due, s.due_at FROM boxhaul.saga s WHERE s.due_at <= saga_take_due.now
                  ORDER BY s.due_at LIMIT most FOR UPDATE SKIP LOCKED;
END
$$;

-- When the next saga is due; NULL: none is open.
CREATE OR REPLACE FUNCTION boxhaul.saga_next_due() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
BEGIN
    RETURN (SELECT s.due_at FROM boxhaul.saga s WHERE s.due_at IS NOT NULL ORDER BY s.due_at LIMIT 1);
END
$$;

-- While the relay is paused no command leaves, and so nobody can answer in time: the clock stands still (saga_tick), and with the end of
-- the pause each deadline that it fell into is later by what it lasted. A row that somebody has locked is being answered: it is not waited
-- for, for whoever answers locks many, in another order.
CREATE OR REPLACE FUNCTION boxhaul.saga_resumed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    UPDATE boxhaul.saga s
       SET (due_at, deadline) = (SELECT s.due_at + p.lasted, s.deadline + p.lasted
                                   FROM greatest(clock_timestamp() - greatest(OLD.since, s.asked_at), '0') p (lasted))
     WHERE s.id IN (SELECT x.id FROM boxhaul.saga x WHERE x.due_at < 'infinity' AND x.due = 'timeout' FOR UPDATE SKIP LOCKED);
    RETURN NULL;
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_trigger
                   WHERE tgrelid = 'boxhaul.paused'::regclass AND tgname = 'saga_resumed') THEN
        CREATE TRIGGER saga_resumed AFTER DELETE ON boxhaul.paused FOR EACH ROW EXECUTE FUNCTION boxhaul.saga_resumed();
    END IF;
END
$$;

-- Let the clock tick: take up to `max` sagas that are due. Returns in how many milliseconds the next one is; NULL: none is open, and
-- whoever starts one says so (saga_sleep). While the relay is paused nothing is due (saga_resumed).
--
-- A saga that raises is alone with it: its savepoint is rolled back, it is shown as stuck, and is due later: else it would roll back the
-- others for ever. (50: more savepoints than 64 in one transaction slow down every snapshot of the server.)
CREATE OR REPLACE FUNCTION boxhaul.saga_tick(now timestamptz DEFAULT clock_timestamp(), max integer DEFAULT 50) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    found_due record;
    taken     integer := 0;
    missed    integer := 0;
    late      interval := '0';
    next      timestamptz;
BEGIN
    IF EXISTS (SELECT FROM boxhaul.paused) THEN
        RETURN 1000;  -- see saga_resumed
    END IF;
    FOR found_due IN SELECT * FROM boxhaul.saga_take_due(saga_tick.now, saga_tick.max) LOOP
        taken := taken + 1;
        BEGIN
            SET CONSTRAINTS ALL DEFERRED;
            IF boxhaul.saga_due(found_due.id, saga_tick.now) IS NOT NULL AND found_due.due = 'timeout' THEN
                missed := missed + 1;
                late := greatest(late, saga_tick.now - found_due.due_at);
            END IF;
        EXCEPTION
            WHEN query_canceled THEN    -- statement_timeout: the time of this call is over, and nothing would end the next one
                PERFORM boxhaul.saga_fail(found_due.id, saga_tick.now, format('%s (%s)', sqlerrm, sqlstate));
                EXIT;
            WHEN OTHERS THEN
                PERFORM boxhaul.saga_fail(found_due.id, saga_tick.now, format('%s (%s)', sqlerrm, sqlstate));
        END;
    END LOOP;
    IF missed > 0 THEN
        UPDATE boxhaul.saga_count c
           SET timeouts = c.timeouts + missed, late_ms = (extract(epoch FROM late) * 1000)::bigint;
    END IF;
    next := boxhaul.saga_next_due();
    IF next IS NOT NULL AND pg_sequence_last_value('boxhaul.saga_asleep') = 2 THEN
        PERFORM setval('boxhaul.saga_asleep', 1);
    ELSIF next IS NULL AND NOT boxhaul.saga_sleep() THEN
        RETURN 1000;
    END IF;
    -- What is due and was not taken is in somebody's hands: not at once again.
    RETURN CASE WHEN next IS NULL THEN NULL WHEN next > saga_tick.now + '1 hour'::interval THEN 3600000
                ELSE greatest(ceil(extract(epoch FROM next - saga_tick.now) * 1000)::bigint, CASE WHEN taken > 0 THEN 0 ELSE 50 END) END;
END
$$;

-- The clock could not take this one: it is stuck, and due later. Nothing else of it has changed, so the same is tried again then.
CREATE OR REPLACE FUNCTION boxhaul.saga_fail(id uuid, now timestamptz, why text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s boxhaul.saga;
BEGIN
    s := boxhaul.saga_hold(id);
    s := boxhaul.saga_note(s, saga_fail.now, 'failed', 'wait_stuck', NULL, NULL, s.attempt, saga_fail.why, NULL, NULL, NULL);
    s := boxhaul.saga_be_stuck(s, 'failed', saga_fail.now);
    s.error := left(saga_fail.why, 4000);
    s.failures := s.failures + 1;
    s.due_at := saga_fail.now + boxhaul.saga_back_off(s.failures);
    PERFORM boxhaul.saga_store(s);
END
$$;

-- --- who operates it ---

-- What somebody asks for, as an event; what cannot be is an error that says why.
CREATE OR REPLACE FUNCTION boxhaul.saga_ask(id uuid, event text, reason text, at_step text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    s    boxhaul.saga;
    e    record;
    now_ timestamptz := clock_timestamp();
    step jsonb;
BEGIN
    s := boxhaul.saga_hold(id);
    IF s.id IS NULL THEN
        PERFORM boxhaul.saga_unknown(id);
    END IF;
    step := (SELECT d.steps -> s.step FROM boxhaul.saga_definition d WHERE d.name = s.name AND d.version = s.version);
    e := boxhaul.saga_event(s, event, CASE WHEN event LIKE 'resolve%' THEN at_step IS NULL OR at_step = step ->> 'name' ELSE s.sent END,
                            0, now_, nullif(concat_ws(': ', 'by ' || session_user, reason), ''), NULL, false, false);
    IF e.action = 'refuse' THEN
        RAISE EXCEPTION 'boxhaul: saga % cannot be %: %', s.id,
            CASE event WHEN 'retry' THEN 'asked again' WHEN 'undo' THEN 'undone' ELSE 'resolved so' END,
            CASE WHEN s.stuck = 'orphan' AND event NOT LIKE 'resolve%' THEN 'it is an orphan: ' || s.error
                 WHEN s.ended_at IS NOT NULL THEN 'it has ended ' || s.state
                 WHEN at_step <> step ->> 'name' THEN format('it stands at step %s, not at %s', step ->> 'name', at_step)
                 WHEN s.state = 'undoing' THEN format('it is being undone, so step %s can only be undone, or refused', step ->> 'name')
                 ELSE format('step %s is %s, and what stands before it is done for good', step ->> 'name', step ->> 'kind') END
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = CASE WHEN s.ended_at IS NOT NULL THEN 'Nothing is left to do.'
                              ELSE format('SELECT * FROM boxhaul.saga_timeline WHERE saga = %L shows it. What a person knows of the '
                                          'step is told by boxhaul.saga_resolve().', s.id) END;
    END IF;
    s := e.s;
    step := (SELECT d.steps -> s.step FROM boxhaul.saga_definition d WHERE d.name = s.name AND d.version = s.version);
    RETURN CASE WHEN s.ended_at IS NOT NULL THEN s.state
                WHEN e.action = 'mark' THEN format('step %s is under way: its answer decides', step ->> 'name')
                WHEN e.action = 'already' THEN 'undoing already'
                ELSE format('%s: %s %s, attempt %s', s.state, CASE s.state WHEN 'running' THEN 'do' ELSE 'undo' END, step ->> 'name',
                            s.attempt) END;
END
$$;

-- Send the command of the step at which it stands again, now.
CREATE OR REPLACE FUNCTION boxhaul.saga_retry(id uuid) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN boxhaul.saga_ask(id, 'retry', NULL);
END
$$;

-- Undo it. Before the pivot; while the pivot is under way its answer decides.
CREATE OR REPLACE FUNCTION boxhaul.saga_undo(id uuid, reason text) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN boxhaul.saga_ask(id, 'undo', coalesce(reason, 'undone'));
END
$$;

-- Say what became of the step at which it stands, in place of its participant: done; undone, or refused: nothing of it is left. step: its
-- name; else the one at which the saga stands by then. Also ends the state of an orphan.
CREATE OR REPLACE FUNCTION boxhaul.saga_resolve(id uuid, outcome text, reason text, step text DEFAULT NULL) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    IF coalesce(outcome, '') NOT IN ('done', 'undone', 'refused') OR coalesce(reason, '') = '' THEN
        RAISE EXCEPTION 'boxhaul: a step is resolved as done, undone or refused, with a reason' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM boxhaul.saga s WHERE s.id = saga_resolve.id) THEN
        UPDATE boxhaul.saga_orphan o SET resolved_at = clock_timestamp(), reason = saga_resolve.reason
         WHERE o.saga = saga_resolve.id AND o.resolved_at IS NULL;
        IF FOUND THEN
            RETURN 'its answers are set aside';
        END IF;
    END IF;
    RETURN boxhaul.saga_ask(id, 'resolve_' || outcome, reason, step);
END
$$;

-- --- participants ---

-- The row that this transaction has received, for whoever cannot pass a row.
CREATE OR REPLACE FUNCTION boxhaul.saga_received(subscription text, lane integer, id bigint) RETURNS boxhaul.inbox
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    r boxhaul.inbox;
BEGIN
    IF current_setting('boxhaul.received', true)
       IS DISTINCT FROM concat_ws(' ', pg_current_xact_id_if_assigned(), lane, subscription)
       OR id <> ALL (current_setting('boxhaul.received_ids')::bigint[]) THEN
        RAISE EXCEPTION 'boxhaul: row % of lane % of subscription % was not received in this transaction', id, lane, subscription
            USING ERRCODE = 'no_active_sql_transaction',
                  HINT = 'It belongs into the transaction of receive(): is this connection in autocommit?';
    END IF;
    r := boxhaul.inbox_unhandled(subscription, lane, id);
    IF r.id IS NULL THEN
        RAISE EXCEPTION 'boxhaul: row % of lane % of subscription % is handled', id, lane, subscription
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Accept a command before it is done.';
    END IF;
    RETURN r;
END
$$;

-- Send what is known of a step to whoever asked.
CREATE OR REPLACE FUNCTION boxhaul.saga_tell(p boxhaul.saga_part, dir text, attempt integer, outcome text, reply jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    INSERT INTO boxhaul.outbox (subject, key, payload, headers, boxhaul_headers)
    VALUES (p.reply_to, p.saga::text, convert_to(coalesce(reply, '{}')::text, 'UTF8'),
            CASE WHEN p.traceparent IS NOT NULL THEN jsonb_build_object('traceparent', p.traceparent) END,
            jsonb_strip_nulls(jsonb_build_object(
                'Boxhaul-Saga', p.saga::text, 'Boxhaul-Step', p.step, 'Boxhaul-Dir', dir, 'Boxhaul-Attempt', attempt::text,
                'Boxhaul-Outcome', outcome, 'Boxhaul-Since', round(extract(epoch FROM p.since) * 1000)::bigint::text)));
END
$$;

-- Take a command. Returns do, undo, or skip: there is nothing to do, for it was done or is under way, and was answered if there was
-- something to answer. In the transaction of the effect and of the answer, or of the note that somebody has to decide.
--
-- S7: the row's lock makes two commands of one step follow each other, and the row says what came before:
--   the same command again        the same answer again; none while the first is not answered
--   an undo of nothing            a tombstone, and `done`: a do that comes later is never done, wherever it was delayed
--   an undo before the answer     the same; the answer that comes later raises, and takes its effect with it
--   an undo of what is done       undo, once
-- A row may have been cleaned away. Then a do may have been done, and an undo have something to undo: nobody knows. The command says since
-- when that may be so; where it is longer ago than what is still known here, the answer is error, until somebody resolves it.
CREATE OR REPLACE FUNCTION boxhaul.saga_accept(r boxhaul.inbox) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    m        record;
    p        boxhaul.saga_part;
    reply_to text := boxhaul.saga_header(r.headers, 'Boxhaul-Reply-To');
    fresh    boolean;
BEGIN
    m := boxhaul.saga_read(r);
    IF reply_to IS NULL THEN
        RAISE EXCEPTION 'boxhaul: message % on % is no command of a saga: it does not say where the answer goes', r.seq, r.subject
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It needs the header Boxhaul-Reply-To. Answers have none.';
    END IF;
    INSERT INTO boxhaul.saga_part AS x (saga, step, did, dir, attempt, reply_to, since, traceparent)
    VALUES (m.saga, m.step, CASE m.dir WHEN 'do' THEN 'pending' ELSE 'void' END, m.dir, m.attempt, reply_to, m.since,
            boxhaul.saga_header(r.headers, 'traceparent'))
    ON CONFLICT ON CONSTRAINT saga_part_pkey DO NOTHING RETURNING * INTO p;
    fresh := FOUND;
    IF fresh THEN
        IF m.since < (SELECT c.parts_before FROM boxhaul.saga_count c) THEN
            DELETE FROM boxhaul.saga_part x WHERE x.saga = m.saga AND x.step = m.step;
            PERFORM boxhaul.saga_tell(p, m.dir, m.attempt, 'error',
                '{"cleaned": true, "reason": "what this participant knew of that time was cleaned away: '
                'nobody knows whether the step was done"}');
            RETURN 'skip';
        ELSIF m.dir = 'do' THEN
            RETURN 'do';
        END IF;
        PERFORM boxhaul.saga_tell(p, m.dir, m.attempt, 'done', NULL);
        RETURN 'skip';
    END IF;
    SELECT * INTO STRICT p FROM boxhaul.saga_part x WHERE x.saga = m.saga AND x.step = m.step FOR UPDATE;
    -- The answer goes to where the newest command wants it.
    p.reply_to := reply_to;
    p.traceparent := coalesce(boxhaul.saga_header(r.headers, 'traceparent'), p.traceparent);
    IF m.dir = 'do' THEN
        IF p.did = 'error' OR p.did = 'pending' THEN
            UPDATE boxhaul.saga_part x
               SET did = 'pending', attempt = greatest(x.attempt, m.attempt), reply_to = p.reply_to, traceparent = p.traceparent
             WHERE x.saga = p.saga AND x.step = p.step;
            RETURN CASE p.did WHEN 'error' THEN 'do' ELSE 'skip' END;
        END IF;
        -- Undone, or to be undone before it was done: it did nothing, or nothing of it is left, and it never will.
        PERFORM boxhaul.saga_tell(p, 'do', m.attempt, CASE WHEN p.did = 'done' AND p.dir = 'do' THEN 'done' ELSE 'refused' END,
                                  CASE WHEN p.did = 'refused' OR p.did = 'done' AND p.dir = 'do' THEN p.reply
                                       ELSE '{"reason": "it was undone"}' END);
        RETURN 'skip';
    END IF;
    IF p.did = 'done' THEN
        UPDATE boxhaul.saga_part x
           SET dir = 'undo', attempt = CASE x.dir WHEN 'do' THEN m.attempt ELSE greatest(x.attempt, m.attempt) END,
               reply_to = p.reply_to, traceparent = p.traceparent, at = clock_timestamp()
         WHERE x.saga = p.saga AND x.step = p.step;
        RETURN CASE p.dir WHEN 'do' THEN 'undo' ELSE 'skip' END;
    END IF;
    IF p.did IN ('pending', 'error', 'refused') THEN
        UPDATE boxhaul.saga_part x
           SET did = 'void', dir = 'undo', attempt = m.attempt, reply_to = p.reply_to, at = clock_timestamp()
         WHERE x.saga = p.saga AND x.step = p.step;
    END IF;
    PERFORM boxhaul.saga_tell(p, 'undo', m.attempt, 'done', NULL);
    RETURN 'skip';
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.saga_accept(subscription text, lane integer, id bigint) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    RETURN boxhaul.saga_accept(boxhaul.saga_received(subscription, lane, id));
END
$$;

-- Answer a command that was accepted, now or when somebody has decided. outcome: done; refused: it did nothing, and never will; error: it
-- did nothing now, ask again. Of an undo only done ends it. reply: JSON, of a do it is merged into the saga's data.
--
-- It counts once (S7): whoever answers a second time, or what was undone meanwhile, gets an error, and must take back the effect that it
-- has in the same transaction.
CREATE OR REPLACE FUNCTION boxhaul.saga_answer(saga uuid, step text, outcome text, reply jsonb DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    p   boxhaul.saga_part;
    why text;
BEGIN
    IF coalesce(outcome, '') NOT IN ('done', 'refused', 'error') THEN
        RAISE EXCEPTION 'boxhaul: % is no answer', coalesce(outcome, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'done, refused (it did nothing, and never will) or error (ask again).';
    END IF;
    SELECT * INTO p FROM boxhaul.saga_part x WHERE x.saga = saga_answer.saga AND x.step = saga_answer.step FOR UPDATE;
    why := CASE WHEN p.saga IS NULL THEN 'was never accepted'
                WHEN p.did = 'void' THEN 'was undone before it was answered'
                WHEN p.did IN ('refused', 'error', 'undone') OR p.did = 'done' AND p.dir = 'do' THEN 'is answered already: ' || p.did END;
    IF why IS NOT NULL THEN
        RAISE EXCEPTION 'boxhaul: step % of saga % %', step, saga, why
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = CASE WHEN p.saga IS NULL THEN 'saga_accept() belongs into a transaction before the answer.'
                              ELSE 'ROLLBACK: what was done for it must not stay.' END;
    END IF;
    IF p.dir = 'do' THEN
        UPDATE boxhaul.saga_part x SET did = saga_answer.outcome, reply = saga_answer.reply, at = clock_timestamp()
         WHERE x.saga = p.saga AND x.step = p.step;
    ELSE
        -- An undo that did not work is asked for again, and is then one that was not accepted yet.
        UPDATE boxhaul.saga_part x
           SET did = CASE outcome WHEN 'done' THEN 'undone' ELSE 'done' END, dir = CASE outcome WHEN 'done' THEN 'undo' ELSE 'do' END,
               at = clock_timestamp()
         WHERE x.saga = p.saga AND x.step = p.step;
    END IF;
    PERFORM boxhaul.saga_tell(p, p.dir, p.attempt, outcome, saga_answer.reply);
END
$$;

CREATE OR REPLACE FUNCTION boxhaul.saga_answer(r boxhaul.inbox, outcome text, reply jsonb DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
    m record;
BEGIN
    m := boxhaul.saga_read(r);
    PERFORM boxhaul.saga_answer(m.saga, m.step, outcome, reply);
END
$$;

-- For drivers that send everything as text; it is also what PostgreSQL takes where no type is said at all.
CREATE OR REPLACE FUNCTION boxhaul.saga_answer(saga text, step text, outcome text, reply jsonb DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
    PERFORM boxhaul.saga_answer(saga::uuid, step, outcome, reply);
END
$$;

-- --- what goes ---

-- Clean away what is older than the retention: sagas that have ended, with their logs, and what participants remember. keep: how long at
-- least participants remember, for instance the max_age of the stream their commands come from; a tombstone younger than a command that
-- may still come has to stay. Up to `most` sagas and as many rows of participants. Returns how many went; call again while it is `most`.
--
-- Never: what is open, not answered, or held for an undo. What was cleaned is known by its time (see saga_accept), and a little more, for
-- the initiator has another clock. What participants remember is kept for an hour at least.
CREATE OR REPLACE FUNCTION boxhaul.saga_clean(retention interval DEFAULT NULL, keep interval DEFAULT NULL, most integer DEFAULT 1000)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
    age    interval := coalesce(retention, (SELECT c.retention FROM boxhaul.saga_settings c), '30 days');
    before timestamptz := clock_timestamp() - age;
    kept   interval := greatest(age, keep, '1 hour');
    parts  timestamptz := clock_timestamp() - kept;
    ids    uuid[];
    gone   bigint;
    n      bigint;
BEGIN
    ids := ARRAY(SELECT s.id FROM boxhaul.saga s WHERE s.ended_at < before AND s.stuck IS NULL
                  ORDER BY s.ended_at LIMIT most FOR UPDATE SKIP LOCKED);
    DELETE FROM boxhaul.saga_log l WHERE l.saga = ANY (ids);
    DELETE FROM boxhaul.saga s WHERE s.id = ANY (ids);
    DELETE FROM boxhaul.saga_orphan o WHERE o.resolved_at < before;
    gone := cardinality(ids);
    DELETE FROM boxhaul.saga_part x
     WHERE (x.saga, x.step) IN (SELECT p.saga, p.step FROM boxhaul.saga_part p
                                 WHERE p.at < parts AND p.did <> 'pending' AND NOT (p.did = 'done' AND p.dir = 'undo')
                                 ORDER BY p.at LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    IF gone > 0 OR n > 0 THEN
        UPDATE boxhaul.saga_count c
           SET sagas_before = CASE WHEN gone > 0 THEN greatest(c.sagas_before, before) ELSE c.sagas_before END,
               parts_before = CASE WHEN n > 0 THEN greatest(c.parts_before, parts + least(kept / 10, '1 hour')) ELSE c.parts_before END;
    END IF;
    RETURN greatest(gone, n);
END
$$;

-- --- what one looks at ---

-- Every saga. state unknown: answers came to a saga that is not on record.
CREATE OR REPLACE VIEW boxhaul.sagas AS
SELECT s.id, s.name, s.version, s.key, s.state, CASE WHEN s.ended_at IS NULL THEN t.step ->> 'name' END AS step,
       CASE WHEN s.ended_at IS NULL THEN t.step ->> 'kind' END AS kind,
       CASE s.state WHEN 'running' THEN 'do' WHEN 'undoing' THEN 'undo' END AS dir,
       CASE WHEN s.ended_at IS NULL THEN s.attempt END AS attempt, s.due_at, s.stuck, s.stuck_since,
       CASE WHEN s.stuck = 'orphan' THEN 'an operator: ' || s.error
            WHEN s.ended_at IS NOT NULL THEN NULL
            WHEN s.due = 'resend' THEN format('a function of step %s that fails: %s', t.step ->> 'name', s.error)
            WHEN s.due = 'repeat' THEN format('the time to ask %s again: %s', t.step ->> 'name', s.error)
            ELSE format('the answer to %s %s, attempt %s', CASE s.state WHEN 'running' THEN 'do' ELSE 'undo' END, t.step ->> 'name',
                        s.attempt)
       END AS waiting_for,
       CASE WHEN s.ended_at IS NULL THEN s.asked_at END AS waiting_since, s.error, s.cancelled, s.locks, s.started_at, s.ended_at, s.reason
  FROM boxhaul.saga s
  LEFT JOIN LATERAL (SELECT d.steps -> s.step AS step FROM boxhaul.saga_definition d
                      WHERE d.name = s.name AND d.version = s.version) t ON true
UNION ALL
SELECT o.saga, NULL, NULL, NULL, 'unknown', o.step, NULL, o.dir, o.attempt, NULL, 'orphan', o.at,
       format('an operator: %s %s was answered %s, and no such saga is on record', o.dir, o.step, o.outcome), NULL, NULL, NULL, '{}', o.at,
       NULL, NULL
  FROM boxhaul.saga_orphan o WHERE o.resolved_at IS NULL;

-- What happened to a saga, and where each of its commands is now: as boxhaul.messages says, or gone: it was sent, and its row is cleaned.
CREATE OR REPLACE VIEW boxhaul.saga_timeline AS
SELECT l.saga, l.n, l.at, l.event, l.action, l.step, l.dir, l.attempt, l.detail, l.reply, l.message, l.message_id,
       CASE WHEN l.message IS NOT NULL THEN coalesce(m.state, 'gone') END AS message_state, m.sent_at, m.last_error
  FROM boxhaul.saga_log l
  LEFT JOIN LATERAL (SELECT x.state, x.sent_at, x.last_error FROM boxhaul.messages x
                      WHERE x.id = l.message AND x.message_id = l.message_id) m ON true;

-- current: what is started now is of this version.
CREATE OR REPLACE VIEW boxhaul.saga_definitions AS
SELECT d.name, d.version, d.steps, d.turn = max(d.turn) OVER (PARTITION BY d.name) AS current, coalesce(c.open, 0) AS open,
       coalesce(c.ended, 0) AS ended, d.defined_at
  FROM boxhaul.saga_definition d
  LEFT JOIN (SELECT s.name, s.version, count(*) FILTER (WHERE s.ended_at IS NULL) AS open, count(s.ended_at) AS ended
               FROM boxhaul.saga s GROUP BY s.name, s.version) c ON c.name = d.name AND c.version = d.version;

-- How long something is ago, in seconds; NULL for a time that is none or infinite.
CREATE OR REPLACE FUNCTION boxhaul.saga_ago(at timestamptz) RETURNS double precision
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT CASE WHEN isfinite(at) THEN extract(epoch FROM clock_timestamp() - at)::float8 END
$$;

-- Those that match, the newest first, each as an object: the columns of boxhaul.sagas and how long ago.
CREATE OR REPLACE FUNCTION boxhaul.saga_list(open boolean DEFAULT false, stuck boolean DEFAULT false, by_name text DEFAULT NULL,
                                             older interval DEFAULT NULL, most bigint DEFAULT NULL) RETURNS SETOF jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT to_jsonb(s) || jsonb_build_object('started_seconds', boxhaul.saga_ago(s.started_at),
               'waiting_seconds', boxhaul.saga_ago(s.waiting_since), 'stuck_seconds', boxhaul.saga_ago(s.stuck_since))
      FROM boxhaul.sagas s
     WHERE (NOT saga_list.open OR s.ended_at IS NULL) AND (NOT saga_list.stuck OR s.stuck IS NOT NULL)
       AND (by_name IS NULL OR s.name = by_name) AND (older IS NULL OR s.started_at <= clock_timestamp() - older)
     ORDER BY s.started_at DESC, s.id LIMIT most
$$;

-- One of them with its timeline, but without data and replies. NULL: there is none. An orphan whose saga is not on record has a row for each
-- of its answers: the first one is told.
CREATE OR REPLACE FUNCTION boxhaul.saga_show(saga uuid) RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    SELECT to_jsonb(s) || jsonb_build_object('started_seconds', boxhaul.saga_ago(s.started_at),
               'waiting_seconds', boxhaul.saga_ago(s.waiting_since), 'stuck_seconds', boxhaul.saga_ago(s.stuck_since),
               'ended_seconds', boxhaul.saga_ago(s.ended_at), 'due_seconds', -boxhaul.saga_ago(s.due_at),
               'timeline', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'n', t.n, 'at', t.at, 'seconds', extract(epoch FROM t.at - s.started_at)::float8, 'event', t.event,
                   'action', t.action, 'step', t.step, 'dir', t.dir, 'attempt', t.attempt, 'detail', t.detail, 'message', t.message,
                   'message_id', t.message_id, 'message_state', t.message_state, 'sent_at', t.sent_at, 'last_error', t.last_error)
                   ORDER BY t.n), '[]') FROM boxhaul.saga_timeline t WHERE t.saga = s.id))
      FROM boxhaul.sagas s WHERE s.id = saga_show.saga LIMIT 1
$$;

-- Steps whose deadline is shorter than one answer in twenty took lately, of the last thousand sagas that have ended: from the first command
-- on, for what was answered in time at the second attempt was late for the first. With fewer than twenty answers nothing is said.
CREATE OR REPLACE FUNCTION boxhaul.saga_slow_steps()
    RETURNS TABLE (name text, step text, took_seconds double precision, answers bigint, deadline_seconds double precision)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
    WITH ended AS (SELECT s.id, s.name FROM boxhaul.saga s WHERE s.ended_at IS NOT NULL ORDER BY s.ended_at DESC LIMIT 1000),
         answered AS (
             SELECT e.name, a.step, date_part('epoch', min(a.at) - min(c.at)) AS took
               FROM ended e
               JOIN boxhaul.saga_log a ON a.saga = e.id AND a.event IN ('done', 'refused') AND a.dir = 'do'
               JOIN boxhaul.saga_log c ON c.saga = e.id AND c.event = 'sent' AND c.step = a.step AND c.dir = 'do'
              GROUP BY e.id, e.name, a.step),
         usual AS (
             SELECT a.name, a.step, percentile_disc(0.95) WITHIN GROUP (ORDER BY a.took) AS took, count(*) AS answers
               FROM answered a GROUP BY a.name, a.step HAVING count(*) >= 20)
    SELECT u.name, u.step, u.took, u.answers, x.seconds
      FROM usual u
      JOIN boxhaul.saga_definitions d ON d.name = u.name AND d.current
      JOIN LATERAL (SELECT t.step ->> 'name' AS step, date_part('epoch', (t.step ->> 'deadline')::interval) AS seconds
                      FROM jsonb_array_elements(d.steps) t (step) WHERE NOT t.step ? 'call') x ON x.step = u.step
     WHERE u.took >= x.seconds ORDER BY 1, 2
$$;

-- The state of it all, for status and metrics: open ones are found by an index, so it does not grow with what has ended. stuck counts what
-- is shown as stuck, orphans too; worst is the one that is since the longest time.
CREATE OR REPLACE FUNCTION boxhaul.saga_look() RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '1s' SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    c       boxhaul.saga_count;
    orphans bigint;
    n       bigint;
    oldest  timestamptz;
    counts  jsonb;
    worst   jsonb;
BEGIN
    SELECT * INTO c FROM boxhaul.saga_count;
    worst := (SELECT jsonb_build_object('id', x.id, 'name', coalesce(x.name, x.state), 'step', x.step, 'stuck', x.stuck,
                                        'seconds', extract(epoch FROM clock_timestamp() - x.stuck_since)::float8)
                FROM boxhaul.sagas x WHERE x.stuck IS NOT NULL ORDER BY x.stuck_since LIMIT 1);
    orphans := (SELECT count(DISTINCT o.saga) FROM boxhaul.saga_orphan o WHERE o.resolved_at IS NULL);
    SELECT coalesce(sum(x.n), 0), min(x.oldest),
           coalesce(jsonb_agg(jsonb_build_object('name', x.name, 'state', x.state, 'count', x.n) ORDER BY x.name, x.state), '[]')
      INTO n, oldest, counts
      FROM (SELECT s.name, s.state, count(*) AS n, min(s.started_at) AS oldest FROM boxhaul.saga s WHERE s.ended_at IS NULL
             GROUP BY s.name, s.state) x;
    RETURN jsonb_build_object(
        'configured', EXISTS (SELECT FROM boxhaul.saga_settings), 'open', n, 'orphans', orphans,
        'stuck', orphans + (SELECT count(*) FROM boxhaul.saga s WHERE s.stuck IS NOT NULL),
        'oldest_open_seconds', extract(epoch FROM clock_timestamp() - oldest)::float8,
        'oldest_stuck_seconds', extract(epoch FROM clock_timestamp() - least(
            (SELECT min(s.stuck_since) FROM boxhaul.saga s WHERE s.stuck IS NOT NULL),
            (SELECT min(o.at) FROM boxhaul.saga_orphan o WHERE o.resolved_at IS NULL)))::float8,
        'timeouts', c.timeouts, 'late_ms', c.late_ms, 'by', counts, 'worst', worst);
END
$$;

-- For a daemon whose configuration has no group sagas: so many are open, 10,000 at the most, while no daemon at all takes their answers and
-- deadlines. 0: none, or somebody does. Where none is open it costs one look into an index.
CREATE OR REPLACE FUNCTION boxhaul.saga_unclocked() RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
    SET lock_timeout = '1s' SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM boxhaul.saga s WHERE s.ended_at IS NULL) OR boxhaul.inbox_leading_pid('sagas.replies') IS NOT NULL THEN
        RETURN 0;
    END IF;
    RETURN (SELECT count(*) FROM (SELECT FROM boxhaul.saga s WHERE s.ended_at IS NULL LIMIT 10000) x);
END
$$;

-- --- grants ---

REVOKE ALL ON ALL TABLES IN SCHEMA boxhaul FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA boxhaul FROM PUBLIC;

-- A service that starts sagas: it may define, start and cancel them, and see how they stand.
GRANT EXECUTE ON FUNCTION boxhaul.saga_define(text, jsonb), boxhaul.saga_start(text, text, jsonb, text[], text),
    boxhaul.saga_cancel(uuid, text) TO boxhaul_writer;
GRANT SELECT ON boxhaul.sagas, boxhaul.saga_definitions TO boxhaul_writer;

-- A participant: it may accept what it has received, and answer.
GRANT EXECUTE ON FUNCTION boxhaul.saga_accept(boxhaul.inbox), boxhaul.saga_accept(text, integer, bigint),
    boxhaul.saga_answer(uuid, text, text, jsonb), boxhaul.saga_answer(boxhaul.inbox, text, jsonb),
    boxhaul.saga_answer(text, text, text, jsonb) TO boxhaul_handler;

-- The daemon brings answers and is the clock; who operates has its role. It is the worker of handlers, so it may accept and answer.
GRANT EXECUTE ON FUNCTION boxhaul.saga_configure(text, interval), boxhaul.saga_reply(boxhaul.inbox),
    boxhaul.saga_reply(text, integer, bigint),
    boxhaul.saga_tick(timestamptz, integer), boxhaul.saga_clean(interval, interval, integer), boxhaul.saga_retry(uuid),
    boxhaul.saga_undo(uuid, text), boxhaul.saga_resolve(uuid, text, text, text), boxhaul.saga_cancel(uuid, text),
    boxhaul.saga_accept(boxhaul.inbox), boxhaul.saga_accept(text, integer, bigint),
    boxhaul.saga_answer(uuid, text, text, jsonb), boxhaul.saga_answer(boxhaul.inbox, text, jsonb),
    boxhaul.saga_answer(text, text, text, jsonb) TO boxhaul_relay;
GRANT SELECT ON boxhaul.saga, boxhaul.saga_log, boxhaul.saga_lock, boxhaul.saga_part, boxhaul.saga_orphan TO boxhaul_relay;

-- The monitor sees everything but data and replies.
GRANT SELECT (saga, step, did, dir, attempt, reply_to, since, at) ON boxhaul.saga_part TO boxhaul_monitor;
GRANT SELECT (saga, n, at, event, action, step, dir, attempt, detail, message, message_id, message_state, sent_at, last_error)
   ON boxhaul.saga_timeline TO boxhaul_monitor;
GRANT SELECT ON boxhaul.saga_timeline TO boxhaul_relay;
GRANT SELECT ON boxhaul.sagas, boxhaul.saga_definitions, boxhaul.saga_settings TO boxhaul_relay, boxhaul_monitor;
GRANT EXECUTE ON FUNCTION boxhaul.saga_look(), boxhaul.saga_unclocked(), boxhaul.saga_ago(timestamptz),
    boxhaul.saga_list(boolean, boolean, text, interval, bigint), boxhaul.saga_show(uuid), boxhaul.saga_slow_steps(),
    boxhaul.saga_transition(text, text, text, boolean, boolean, boolean, boolean, boolean, boolean) TO boxhaul_relay, boxhaul_monitor;

INSERT INTO boxhaul.schema_version (version, name) VALUES (9, 'saga') ON CONFLICT DO NOTHING;
