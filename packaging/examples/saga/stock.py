"""The stock: holds goods for an order, and ships them or lets them go. See participant.py."""

from participant import Refused, serve


def reserve(cursor, order):
    """Hold, do not take: others see that it is not free."""
    cursor.execute("""
        UPDATE stock SET free = free - %(quantity)s,
                         held = held + %(quantity)s
         WHERE item = %(item)s AND free >= %(quantity)s""", order)
    if cursor.rowcount == 0:
        raise Refused(f"there is too little of {order['item']}")
    cursor.execute("""
        INSERT INTO reservation (order_id, item, quantity)
        VALUES (%(order)s, %(item)s, %(quantity)s)""", order)


def release(cursor, order):
    """The undo of reserve: what is held can always be let go."""
    cursor.execute("""
        UPDATE reservation SET state = 'released'
         WHERE order_id = %(order)s""", order)
    cursor.execute("""
        UPDATE stock SET free = free + %(quantity)s,
                         held = held - %(quantity)s
         WHERE item = %(item)s""", order)


def ship(cursor, order):
    """Behind the pivot: it cannot refuse, for the goods are held."""
    cursor.execute("""
        UPDATE reservation SET state = 'shipped'
         WHERE order_id = %(order)s""", order)
    cursor.execute("""
        UPDATE stock SET held = held - %(quantity)s
         WHERE item = %(item)s""", order)


if __name__ == "__main__":
    serve("stock", {"saga.stock.reserve": reserve,
                    "saga.stock.release": release,
                    "saga.stock.ship": ship})
