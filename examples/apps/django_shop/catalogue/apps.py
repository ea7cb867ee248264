"""Django's view of this app."""

from django.apps import AppConfig


class CatalogueConfig(AppConfig):
    name = "catalogue"
