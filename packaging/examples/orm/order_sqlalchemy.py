"""SQLAlchemy (1.4 and 2.0): an order and its messages, in one transaction.

    DATABASE_URL=postgresql://shop@localhost/shop python3 order_sqlalchemy.py
"""

import json
import os

from sqlalchemy import BigInteger, Column, LargeBinary, Text, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()


class Order(Base):
    __tablename__ = "orders"
    id = Column(BigInteger, primary_key=True)
    customer = Column(Text)


class Outgoing(Base):
    """Leave it out of the migrations: the view is boxhaul's."""
    __tablename__ = "outgoing"
    __table_args__ = {"schema": "boxhaul"}
    id = Column(BigInteger, primary_key=True)
    subject = Column(Text, nullable=False)
    key = Column(Text)
    payload = Column(LargeBinary, nullable=False)
    headers = Column(JSONB(none_as_null=True))


with Session(create_engine(os.environ["DATABASE_URL"])) as session, session.begin():
    order = Order(customer="Ada")
    session.add(order)
    session.flush()  # draws the order's id
    body = json.dumps({"order": order.id}).encode()
    messages = [Outgoing(subject="orders.created", key=str(order.id), payload=body, headers={"Trace": "a-1"}),
                Outgoing(subject="orders.paid", key=str(order.id), payload=body)]
    session.add_all(messages)
    session.flush()
    drawn = order.id, *(message.id for message in messages)
print(*drawn)
