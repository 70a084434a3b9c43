"""The reconciliation: what the shop committed against what the stream holds.

    missing       committed, but not stored (nor a dead letter, where those are given)
    unexpected    stored, but rolled back, or never written so by anybody
    duplicates    copies beyond the first
    out_of_order  first copies stored after one of the same key that took effect later

A transaction whose COMMIT got no answer may be stored or not, but whole: one stored message of it makes all
of it count as committed."""

from dataclasses import dataclass, field

from shop import recognise, unseal

EXAMPLES = 5


@dataclass
class Reconciliation:
    committed: int = 0
    stored: int = 0
    missing: int = 0
    unexpected: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    examples: list = field(default_factory=list)  # of the faults, for people

    def __str__(self):
        return (f"committed={self.committed} stored={self.stored} missing={self.missing} "
                f"unexpected={self.unexpected} duplicates={self.duplicates} out_of_order={self.out_of_order}")

    def clean(self):
        return self.committed > 0 and not (self.missing or self.unexpected or self.duplicates or self.out_of_order)

    def fault(self, kind, what):
        setattr(self, kind, getattr(self, kind) + 1)
        if getattr(self, kind) <= EXAMPLES:
            self.examples.append(f"{kind}: {what}")


def reconcile(ledgers, stream, dead=()):
    """ledgers: one Ledger or several. stream: what JetStream.read() yields. dead: messages (by the name in
    their body) that stand in the dead letter table and so need not be stored."""
    ledgers = ledgers if isinstance(ledgers, (list, tuple)) else [ledgers]
    committed, unknown = {}, {}
    for ledger in ledgers:
        committed.update(ledger.committed)
        unknown.update(ledger.unknown)
    result, first_copies = Reconciliation(), {}
    newest = {}  # key -> the highest sequence number stored so far
    for stored in stream:
        message, key, seq = recognise(stored) or (f"stream sequence {stored.seq}", None, None)
        if message in first_copies:
            result.fault("duplicates", f"{message} at {first_copies[message]} and {stored.seq}")
            continue
        first_copies[message] = stored.seq
        if message not in committed and message not in unknown:
            result.fault("unexpected", f"{message} on {stored.subject} at {stored.seq}")
        elif key is not None:
            if seq < newest.get(key, 0):
                result.fault("out_of_order", f"{message}, number {seq} of {key}, at {stored.seq} after {newest[key]}")
            newest[key] = max(seq, newest.get(key, 0))
    proven = {unknown[message] for message in first_copies if message in unknown}
    committed.update((m, transaction) for m, transaction in unknown.items() if transaction in proven)
    for message in committed.keys() - first_copies.keys() - set(dead):
        result.fault("missing", f"{message} of transaction {committed[message]}")
    result.committed, result.stored = len(committed), len(first_copies)
    return result


def dead_letters(connection):
    """The shop's messages that stand in the dead letter table, for reconcile(dead=...)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM boxhaul.dead_letter")
        bodies = [unseal(bytes(payload or b"")) for (payload,) in cursor.fetchall()]
    return {body["message"] for body in bodies if body}
