"""The CORS headers of a response."""

from aiohttp import ClientResponse

ORIGIN = "https://app.example.com"
REQUEST_HEADERS = {"authorization", "content-type", "if-match", "if-none-match", "idempotency-key", "x-request-id"}

RESPONSE_HEADERS = {
    *("etag", "idempotency-replayed", "link", "location", "retry-after", "www-authenticate", "allow", "x-request-id")
}


def names(value: str) -> set[str]:
    """The members of a list in a header."""
    return {name.strip().lower() for name in value.split(",")}


def cors_of(response: ClientResponse) -> dict[str, str]:
    """The CORS headers without their common prefix. Checks `Vary`, too, which every response has."""
    path = response.url.path
    if "Access-Control-Request-Method" in response.request_info.headers:
        vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    else:
        vary = "Authorization, Origin" if f"{path}/".startswith("/api/") else "Origin"
        vary += ", Accept-Encoding"
    assert response.headers["Vary"] == vary
    prefix = "access-control-"
    headers = {name.lower(): value for name, value in response.headers.items()}
    return {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}


def assert_readable(response: ClientResponse) -> None:
    """Checks that pages of the origin can read the response, and the headers of the contract."""
    cors = cors_of(response)
    assert cors.pop("allow-origin") == ORIGIN
    assert cors.pop("allow-credentials") == "true"
    assert names(cors.pop("expose-headers")) == RESPONSE_HEADERS
    assert cors == {}
