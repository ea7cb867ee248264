"""The shop's addresses in production: those of `shop.urls`, and the stock page."""

from catalogue.stock import stock
from django.urls import path

from shop.urls import urlpatterns as shop

urlpatterns = [*shop, path("stock/", stock, name="stock")]
"""What Django looks addresses up in."""
