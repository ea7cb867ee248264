"""The stock page: a POST asks the Celery worker to take stock, a GET shows what it found last."""

from django.conf import settings
from django.http import HttpResponseRedirect
from django.shortcuts import render

from catalogue.tasks import take_stock


def stock(request):
    if request.method == "POST":
        take_stock.delay()
        return HttpResponseRedirect(request.path)
    file = settings.STATE / "stock.txt"
    return render(request, "catalogue/stock.html", {"stock": file.read_text() if file.exists() else "Not taken yet."})
