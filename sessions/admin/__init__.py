"""What ran, of every organization, to look at."""

from sessions.admin import besides as besides
from sessions.admin import sessions as sessions
