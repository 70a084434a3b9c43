"""The judge of a move: the same shop in two databases, and what its clients saw committed. He takes nothing of boxhaul's word: he is given the rows of
each database, in one shape, and the clients' ledgers.

    judge = Judge()
    judge.compare(rows_of_the_one, rows_of_the_other)     # {table: [row, ...]}; a row is a tuple, and its first KEYS[table] columns are the key
    judge.settle(ledgers, rows_of_the_owner)              # what each client saw committed, against the database that takes the writes
    judge.faults                                          # {} when all is well

    missing, surplus, different   a row that the copy has not, has besides, or has otherwise
    doubled                       a key that is there twice; or a write that took effect twice
    lost                          a write that a client saw committed is not there, or an older state of its row is
    revived                       a row is there that a client saw deleted
    unexpected                    a write that no client saw committed
    unbalanced                    a customer's balance is not the sum of the payments"""

import collections

KEYS = {"customers": 1, "orders": 1, "order_lines": 2, "payments": 1}
EXAMPLES = 5
DIFFERENT = ("missing", "surplus", "different", "doubled")
LOST = ("lost", "revived", "unbalanced")


class Ledger:
    """What a client saw committed. orders: id -> (revision, ref, lines); payments: ref -> (customer, cents)."""

    def __init__(self, orders=None):
        self.orders, self.removed, self.payments = dict(orders or {}), set(), {}

    def writes(self):
        return len(self.orders) + len(self.removed) + len(self.payments)


class Judge:
    def __init__(self):
        self.faults, self.examples = collections.Counter(), []

    def fault(self, kind, what):
        self.faults[kind] += 1
        if self.faults[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {what}")

    def count(self, kinds):
        return sum(self.faults[kind] for kind in kinds)

    # -- two databases

    def compare(self, owner, copy):
        """Returns how many rows the owner has."""
        for table, width in KEYS.items():
            there, here = (self._by_key(table, rows[table], width) for rows in (owner, copy))
            for key in there.keys() - here.keys():
                self.fault("missing", f"{table} {key}")
            for key in here.keys() - there.keys():
                self.fault("surplus", f"{table} {key}")
            for key in there.keys() & here.keys():
                if there[key] != here[key]:
                    self.fault("different", f"{table} {key}: {there[key]} and {here[key]}")
        return sum(len(rows) for rows in owner.values())

    def _by_key(self, table, rows, width):
        found = {}
        for row in rows:
            if row[:width] in found:
                self.fault("doubled", f"{table} {row[:width]}")
            found[row[:width]] = row
        return found

    # -- a database and the clients

    def settle(self, ledgers, rows):
        """Everything that was committed is there, once, and nothing else."""
        self._settle_orders(ledgers, rows)
        self._settle_payments(ledgers, rows)

    def _settle_orders(self, ledgers, rows):
        lines = collections.Counter(row[0] for row in rows["order_lines"])
        there = {order: (revision, ref, lines[order]) for order, _customer, revision, ref, *_more in rows["orders"]}
        known = {}
        for ledger in ledgers:
            known.update(ledger.orders)
            for order in ledger.removed & there.keys():
                self.fault("revived", f"order {order}")
        for order, wanted in known.items():
            if there.get(order) != wanted:
                self.fault("lost", f"order {order}: committed was {wanted}, and there is {there.get(order)}")
        for order in there.keys() - known.keys() - set().union(*(ledger.removed for ledger in ledgers)):
            self.fault("unexpected", f"order {order} {there[order]}")

    def _settle_payments(self, ledgers, rows):
        there, balances = collections.defaultdict(list), collections.Counter()
        for _id, customer, ref, cents in rows["payments"]:
            there[ref].append((customer, cents))
        known = {}
        for ledger in ledgers:
            known.update(ledger.payments)
        for ref, wanted in known.items():
            balances[wanted[0]] += wanted[1]
            if wanted not in there[ref]:
                self.fault("lost", f"payment {ref}: committed was {wanted}, and there is {there[ref]}")
            elif len(there[ref]) > 1:
                self.fault("doubled", f"payment {ref}: {there[ref]}")
        for ref in there.keys() - known.keys():
            self.fault("unexpected", f"payment {ref} {there[ref]}")
        for customer, _name, _email, balance in rows["customers"]:
            if balance != balances[customer]:
                self.fault("unbalanced", f"customer {customer} has {balance}, and paid {balances[customer]}")


def longest_silence(times, begin, end):
    """The longest time between two writes that were taken, one of them at least from begin to end. times: of all clients. What was never
    taken up again is silence until end."""
    inside = sorted(time for time in times if begin <= time <= end)
    before = max((time for time in times if time < begin), default=begin)
    after = min((time for time in times if time > end), default=end)
    marks = [before, *inside, after]
    return max(later - earlier for earlier, later in zip(marks, marks[1:]))
