"""The settings: read from environment variables into one frozen object."""

from todo_service.settings.environment import SettingsError, names_in_environment, read_settings
from todo_service.settings.settings import VARIABLES, Settings
from todo_service.settings.values import SECRET_BYTES, is_loopback

__all__ = [
    "SECRET_BYTES",
    "VARIABLES",
    "Settings",
    "SettingsError",
    "is_loopback",
    "names_in_environment",
    "read_settings",
]
