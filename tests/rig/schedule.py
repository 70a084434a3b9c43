"""What goes wrong when: a pure function of the seed and the shape of the world.

A fault is a record: at (seconds from the start), kind, seconds (how long it lasts), and what else the kind needs.
Roles ("the leader") are resolved when the fault is done; everything else is fixed here."""

import random

QUIET = 3.0    # at the start: everything works, or nothing later means anything
KINDS = {
    # kind: (weight, seconds at least, at most)
    "relay-kill": (4, 0.2, 4), "relay-pause": (4, 0.5, 12), "relay-restart": (2, 0, 1),
    "nats-kill": (4, 0.2, 5), "nats-pause": (4, 0.5, 8), "nats-restart": (2, 0, 2),
    "pg-kill": (3, 0.2, 3), "pg-pause": (3, 0.3, 6), "pg-restart": (2, 0, 1), "promote": (3, 0.5, 6),
    "cut": (4, 0.3, 8), "half-open": (4, 0.5, 10), "stall": (3, 0.3, 8), "delay": (2, 1, 6),
    "mute": (2, 0.5, 6), "reset": (3, 0, 0),
    "stepdown": (4, 0, 0), "disk-full": (2, 1, 4), "stream-full": (2, 0.5, 4), "stream-deaf": (2, 0.5, 4),
    "stream-restore": (1, 0.2, 2),
    "stepdowns": (3, 2, 8), "quorum-loss": (3, 1, 12),
    "terminate-relay": (3, 0, 0), "terminate-producers": (2, 0, 0),
    "idle-in-transaction": (2, 1, 8), "lock-outbox": (2, 0.3, 3),
}
CLUSTER = ("stepdown", "stepdowns", "quorum-loss")  # only where there are three brokers
# Only when they are named. A cluster of before 2.10.23 may itself lose what it has acknowledged when its nodes are killed.
NAMED = ("stepdowns", "quorum-loss")
NETWORK = ("cut", "half-open", "stall", "delay", "mute", "reset")
TOGETHER = 0.4  # share of faults into which another one falls before they are over
DEATHS = ("relay-kill", "relay-pause", "terminate-relay", "nats-kill", "pg-kill", "promote")  # every second of those


def draw(seed, seconds, relays=1, nats=1, gap=4.0, kinds=None):
    """The faults of a run, numbered, in order of time. gap: seconds between two moments, on average. kinds: all but NAMED."""
    dice = random.Random(f"chaos {seed}")
    kinds = [kind for kind in KINDS if (kind in kinds if kinds else kind not in NAMED) and (kind not in CLUSTER or nats > 1)]
    if not kinds:
        return []
    faults, at = [], QUIET
    while True:
        at += dice.uniform(0.3, 1.7) * gap
        if at >= seconds:
            faults.sort(key=lambda fault: fault["at"])
            return [{"n": n, **fault, "at": round(fault["at"], 2)} for n, fault in enumerate(faults, 1)]
        faults.append({"at": at, **_draw_one(dice, kinds, relays, nats)})
        for _ in range(2):  # three at once, at most
            if dice.random() > TOGETHER:
                break
            into = faults[-1]
            others = dice.choice([kinds, [kind for kind in kinds if kind in DEATHS] or kinds])
            at_once = into["at"] + dice.uniform(0, into["seconds"])
            faults.append({"at": at_once, **_draw_one(dice, others, relays, nats)})


def _draw_one(dice, kinds, relays, nats):
    kind = dice.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
    _weight, least, most = KINDS[kind]
    # Mostly short ones: the square of a uniform draw.
    fault = {"kind": kind, "seconds": round(least + (most - least) * dice.random() ** 2, 2)}
    if kind in NETWORK:
        fault["between"] = _draw_pair(dice, relays, nats)
        if kind == "delay":
            fault["delay"] = round(dice.uniform(0.02, 0.5), 3)
    elif kind.startswith("relay-"):
        fault["who"] = dice.choice(["leader"] * 3 + ["any"])
        fault["which"] = dice.randrange(relays)
    elif kind.startswith("nats-") or kind == "disk-full":
        fault["who"] = dice.choice(["leader", "any"])
        fault["which"] = dice.randrange(nats)
    elif kind == "pg-restart":
        fault["mode"] = dice.choice(["fast", "immediate"])
    elif kind in ("pg-kill", "pg-pause"):
        fault["who"] = dice.choice(["primary"] * 3 + ["standby"])
    elif kind == "promote":
        fault["victim"] = dice.choice(["killed", "paused"])
    elif kind == "idle-in-transaction":
        fault["end"] = dice.choice(["commit", "rollback"])
    elif kind == "lock-outbox":
        fault["mode"] = dice.choice(["SHARE", "SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"])
    return fault


def _draw_pair(dice, relays, nats):
    """Two ends: relay and database, relay and broker, producers and database, two databases, two brokers."""
    relay, node = f"relay{dice.randint(1, relays)}", f"nats{dice.randint(1, nats)}"
    pairs = [(relay, "primary")] * 3 + [(relay, node)] * 3 + [(relay, "nats")] + [("producers", "primary"), ("a", "b")]
    if nats > 1:
        pairs += [tuple(f"nats{n}" for n in sorted(dice.sample(range(1, nats + 1), 2)))] * 2 + [(node, "nats")]
    return dice.choice(pairs)
