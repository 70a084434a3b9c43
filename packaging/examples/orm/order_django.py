"""Django: an order and its messages, in one transaction. The two models go into a models.py.

    DATABASE_URL=postgresql://shop@localhost/shop python3 order_django.py
"""

import json
import os
from urllib.parse import urlsplit

import django
from django.conf import settings

url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "HOST": url.hostname, "PORT": url.port or "", "NAME": url.path[1:],
    "USER": url.username, "PASSWORD": url.password}})
django.setup()

from django.db import models, transaction  # only now: a model asks for the settings


class Order(models.Model):
    id = models.BigAutoField(primary_key=True)
    customer = models.TextField()

    class Meta:
        app_label, db_table = "shop", "orders"


class Outgoing(models.Model):
    id = models.BigAutoField(primary_key=True)
    subject = models.TextField()
    key = models.TextField(null=True)
    payload = models.BinaryField()
    headers = models.JSONField(null=True)

    class Meta:
        app_label = "shop"
        db_table = 'boxhaul"."outgoing'  # Django puts the outer quotes: "boxhaul"."outgoing"
        managed = False  # no migration: the view is boxhaul's


with transaction.atomic():
    order = Order.objects.create(customer="Ada")
    body = json.dumps({"order": order.id}).encode()
    created = Outgoing.objects.create(subject="orders.created", key=str(order.id), payload=body, headers={"Trace": "a-1"})
    paid = Outgoing.objects.create(subject="orders.paid", key=str(order.id), payload=body)
print(order.id, created.id, paid.id)
