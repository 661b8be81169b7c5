"""The only settings file. Everything that differs between installations comes from env.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from csp.constants import NONE, SELF
from psycopg.conninfo import conninfo_to_dict

from keeptrusts_runners import env, postgres

ENVIRONMENT = env.load()
BASE_DIR = env.BASE_DIR
VERSION = "0.1.0"

SECRET_KEY = ENVIRONMENT.secret_key
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = ENVIRONMENT.allowed_hosts
PUBLIC_URL = ENVIRONMENT.public_url
SECURE = PUBLIC_URL.startswith("https://")

INSTALLED_APPS = [
    "keeptrusts_runners.identity",
    "keeptrusts_runners.evidence",
    "keeptrusts_runners.api",
    "keeptrusts_runners.console",
    "keeptrusts_runners.apps.PlatformConfig",
    "profiles",
    "sessions.apps.SessionsConfig",
    "grants",
    "keeptrusts_runners.investigations.apps.InvestigationsConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
]

MIDDLEWARE = [
    "keeptrusts_runners.api.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "keeptrusts_runners.console.compression.PageCompression",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "keeptrusts_runners.api.middleware.ProblemMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "keeptrusts_runners.urls"
WSGI_APPLICATION = "keeptrusts_runners.wsgi.application"
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "keeptrusts_runners.console.context.console",
            ],
        },
    },
]

# --- database --------------------------------------------------------------------------------

DATABASE_ROLES = {
    "default": "keeptrusts_app",
    "migrate": "keeptrusts_migrate",
    "maintain": "keeptrusts_maintain",
    "signer": "keeptrusts_signer",
    "forensics": "keeptrusts_forensics",
}


def _connection_parameters(alias: str) -> dict[str, Any]:
    """libpq parameters for an alias: the embedded server's, or those of its address."""
    if ENVIRONMENT.embedded_database:
        return {
            "host": str(postgres.location(ENVIRONMENT.data_dir).socket_dir),
            "user": DATABASE_ROLES[alias],
            "dbname": "keeptrusts",
        }
    urls = ENVIRONMENT.database_urls
    return {k: v for k, v in conninfo_to_dict(urls.get(alias, urls["default"])).items() if v}


def _database(alias: str) -> dict[str, Any]:
    known = _connection_parameters(alias)
    options: dict[str, Any] = {
        "connect_timeout": 5,
        "tcp_user_timeout": 10_000,
        "application_name": f"keeptrusts-{alias}",
    }
    if alias == "migrate":
        # Everything that a migration makes belongs to the owner, who cannot log in.
        options["options"] = "-c role=keeptrusts_owner"
    named = {"host", "port", "user", "password", "dbname"}
    options |= {name: value for name, value in known.items() if name not in named}
    return {
        "ENGINE": "keeptrusts_runners.connections",
        "NAME": known.get("dbname", "keeptrusts"),
        "USER": known.get("user", ""),
        "PASSWORD": known.get("password", ""),
        "HOST": known.get("host", ""),
        "PORT": known.get("port", ""),
        # Reconnecting for each request costs two thirds of the throughput.
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": False,
        "OPTIONS": options,
    }


DATABASES = {alias: _database(alias) for alias in DATABASE_ROLES}

# --- identity --------------------------------------------------------------------------------

AUTH_USER_MODEL = "identity.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/sign-in"
LOGIN_REDIRECT_URL = "/runners"

SIMPLE_JWT = {
    "ALGORITHM": "EdDSA",
    "ISSUER": PUBLIC_URL,
    "AUDIENCE": "keeptrusts-runners",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "UPDATE_LAST_LOGIN": False,
}
TOKEN_KEY_FILE = ENVIRONMENT.token_key_file
EVIDENCE_KEY_FILE = ENVIRONMENT.evidence_key_file
LOG_KEY_FILE = ENVIRONMENT.log_key_file
CHECKPOINTS_DIR = ENVIRONMENT.checkpoints_dir
ARTIFACTS_DIR = ENVIRONMENT.artifacts_dir
ARTIFACTS = ENVIRONMENT.artifacts
S3_ENDPOINT = ENVIRONMENT.s3_endpoint
ARTIFACT_QUOTA_BYTES = ENVIRONMENT.artifact_quota_bytes
SCRUB_BYTES_PER_SECOND = ENVIRONMENT.scrub_mib_per_second * 1024 * 1024

SESSION_ENGINE = "keeptrusts_runners.console.browser_sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_AGE = 12 * 3600
CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
CSRF_FAILURE_VIEW = "keeptrusts_runners.console.access.csrf_failure"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    },
}

# --- API -------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "keeptrusts_runners.api.authentication.BearerAuthentication"
    ],
    "DEFAULT_PERMISSION_CLASSES": ["keeptrusts_runners.api.permissions.ScopePermission"],
    "DEFAULT_PARSER_CLASSES": ["keeptrusts_runners.api.strict_json.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "keeptrusts_runners.api.problems.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "keeptrusts_runners.api.schema.ScopedSchema",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "URL_FORMAT_OVERRIDE": None,
    "COMPACT_JSON": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Keeptrusts Runners",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "SORT_OPERATIONS": False,
}
METRICS = ENVIRONMENT.metrics
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

# --- files, language, logs -------------------------------------------------------------------

STATIC_URL = "/static/"
# Served straight from the packages: no collecting step on a fresh machine.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 3600

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "keeptrusts_runners.formats"

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=True,
)

_RENDERER = (
    structlog.processors.JSONRenderer()
    if ENVIRONMENT.log_format == "json"
    # Plain tracebacks: the pretty ones print local variables, secrets among them.
    else structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _RENDERER,
            ],
            "foreign_pre_chain": [
                structlog.contextvars.merge_contextvars,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
        },
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": ENVIRONMENT.log_level.upper()},
    "loggers": {
        "django.server": {"level": "WARNING"},
        # A refused request is an answer, not an incident; 5xx are logged where they are made.
        "django.request": {"level": "CRITICAL"},
        "django.security": {"level": "ERROR"},
        # Anybody can send a foreign Host; it is answered with a 400 and needs no traceback.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}

SILENCED_SYSTEM_CHECKS: list[str] = []
