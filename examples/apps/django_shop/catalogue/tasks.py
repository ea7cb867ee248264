"""What the shop's Celery worker does."""

from django.conf import settings
from shop.celery import app

from catalogue.models import Product


@app.task
def take_stock():
    """Count the products, and write the result where the shop shows it."""
    there = Product.objects.filter(in_stock=True).count()
    new = settings.STATE / "stock.new"
    new.write_text(f"{there} of {Product.objects.count()} products are in stock.")
    new.rename(settings.STATE / "stock.txt")
