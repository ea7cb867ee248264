"""Settings of the whole site, as examples/site.ini runs it: collected static files, and a Celery worker."""

from shop.settings import *  # noqa: F403 (what Django's documentation advises)
from shop.settings import MIDDLEWARE, STATE

ROOT_URLCONF = "shop.production_urls"

# The vassal serves static files, so Django need not. A checksum is in each name, so what bears the name never changes.
MIDDLEWARE = [name for name in MIDDLEWARE if "whitenoise" not in name]
STATIC_ROOT = STATE / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}

# A broker that needs no server: fine for one machine and few tasks. Any other one is named here in the same way.
QUEUE = STATE / "queue"
QUEUE.mkdir(exist_ok=True)
CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": str(QUEUE),
    "data_folder_out": str(QUEUE),
    "control_folder": str(QUEUE),
    "polling_interval": 0.5,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
