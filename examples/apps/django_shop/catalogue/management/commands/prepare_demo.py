"""`manage.py prepare_demo`: bring the database up to date, with a user and some products for a first look."""

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand

from catalogue.models import Product

PRODUCTS = [
    ("Laurel wreath", "Fresh, one size fits all emperors.", "12.50", True),
    ("Toga", "White wool with a purple border.", "89.00", True),
    ("Signet ring", "Seals edicts. Engraving takes a week.", "240.00", False),
]


class Command(BaseCommand):
    help = "Migrate the database and add the user demo (password: demo) and three products."

    def handle(self, *_args, **_options):
        call_command("migrate", verbosity=0, interactive=False)
        users = get_user_model().objects
        if not users.filter(username="demo").exists():
            users.create_superuser("demo", password="demo")
        for name, description, price, in_stock in PRODUCTS:
            values = {"description": description, "price": price, "in_stock": in_stock}
            Product.objects.get_or_create(name=name, defaults=values)
