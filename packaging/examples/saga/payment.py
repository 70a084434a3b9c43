"""The payment: takes the money for an order, or refuses. See participant.py."""

from participant import Refused, serve


def charge(cursor, order):
    """The pivot: behind it there is no way back. One statement looks and takes, so two orders never spend the same money."""
    cursor.execute("UPDATE account SET balance = balance - %(amount)s WHERE customer = %(customer)s AND balance >= %(amount)s", order)
    if cursor.rowcount == 0:
        raise Refused(f"{order['customer']} cannot pay {order['amount']}")
    cursor.execute("INSERT INTO charge (order_id, customer, amount) VALUES (%(order)s, %(customer)s, %(amount)s)", order)


if __name__ == "__main__":
    serve("payment", {"saga.payment.charge": charge})
