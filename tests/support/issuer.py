"""A fake issuer: private keys with their JWKs, tokens with any header and payload, and a server for the key set."""

import asyncio
import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class SigningKey:
    """A private key, its algorithm, and the JWK that the issuer publishes."""

    def __init__(self, algorithm: str, private: PrivateKey, **members: Any) -> None:
        self.algorithm = algorithm
        self.private = private
        public = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
        self.jwk: dict[str, Any] = {**public, **members}

    def published_by_mistake(self) -> "SigningKey":
        """The same key, with its private half in the published JWK."""
        private = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private, as_dict=True)
        return SigningKey(self.algorithm, self.private, **{**private, **self.jwk})

    def sign(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """A token with this key's algorithm, and its `kid` if it has one. `header` can replace both."""
        kid = {"kid": self.jwk["kid"]} if "kid" in self.jwk else {}
        parts = compact({"alg": self.algorithm, **kid, **header}, claims)
        signature = jwt.get_algorithm_by_name(self.algorithm).sign(parts, self.private)
        return (parts + b"." + base64url(signature)).decode()


def eddsa_key(**members: Any) -> SigningKey:
    return SigningKey("EdDSA", ed25519.Ed25519PrivateKey.generate(), **members)


def es256_key(**members: Any) -> SigningKey:
    return SigningKey("ES256", ec.generate_private_key(ec.SECP256R1()), **members)


def rs256_key(bits: int = 2048, **members: Any) -> SigningKey:
    return SigningKey("RS256", rsa.generate_private_key(65_537, bits), **members)


def base64url(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def compact(header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes) -> bytes:
    """The signing input (RFC 7515, section 5.1). Bytes are used unchanged, other values as JSON."""
    texts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    return b".".join(base64url(text) for text in texts)


def hmac_token(
    secret: str | bytes, header: dict[str, Any] | bytes, claims: dict[str, Any] | bytes, digest: str = "sha256"
) -> str:
    """A token with a correct signature, even if its header or payload is malformed."""
    signed = compact(header, claims)
    key = secret if isinstance(secret, bytes) else secret.encode()
    return (signed + b"." + base64url(hmac.new(key, signed, getattr(hashlib, digest)).digest())).decode()


class Issuer:
    """Publishes `keys`, or the response of `override` if it is set. Counts requests, and answers when `open` is set."""

    def __init__(self) -> None:
        self.keys: list[SigningKey] = []
        self.override: Callable[[], web.Response] | None = None
        self.requests = 0
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.arrived.set()
        await self.open.wait()
        if self.override is not None and request.path == "/keys":
            return self.override()  # a response object can be sent only once
        return web.json_response({"keys": [key.jwk for key in self.keys]})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/keys", self.publish)
        app.router.add_get("/elsewhere", self.publish)
        return app
