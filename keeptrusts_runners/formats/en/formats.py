"""Named by FORMAT_MODULE_PATH: every instant is in UTC and says so."""

DATETIME_FORMAT = r"Y-m-d H:i:s\Z"
