"""All of Django, synchronous: everything that does not wait."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keeptrusts_runners.settings")

application = get_wsgi_application()
