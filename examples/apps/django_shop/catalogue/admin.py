"""Products in Django's admin."""

from django.contrib import admin

from catalogue.models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ("name", "price", "in_stock")
    list_editable = ("price", "in_stock")
    list_filter = ("in_stock",)
    search_fields = ("name", "description")
