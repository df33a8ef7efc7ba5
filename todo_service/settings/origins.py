"""The parser of CORS_ORIGINS."""

import re

from todo_service.settings.values import require, split


def parse_origins(value: str) -> tuple[str, ...]:
    origins = split(value)
    require(all(re.fullmatch(r"https?://[a-z0-9.\-\[\]:]+", origin) for origin in origins))
    return origins
