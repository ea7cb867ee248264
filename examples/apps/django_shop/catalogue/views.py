"""The shop's page."""

import os

from django.shortcuts import render

from catalogue.models import Product


def index(request):
    return render(request, "catalogue/index.html", {"products": Product.objects.all(), "pid": os.getpid()})
