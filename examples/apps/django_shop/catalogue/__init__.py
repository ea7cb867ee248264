"""The one Django app of the shop: products."""
