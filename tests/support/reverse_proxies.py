"""nginx and Apache of Debian in front of a service, with a configuration of docs/deployment or with another one."""

import grp
import os
import pwd
import re
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.external_programs import require
from tests.support.pages import page
from tests.support.processes import free_port, wait_until_blocking
from todo_service.embedded.processes import run_child

FOLDER = Path(__file__).parents[2] / "docs" / "deployment"
SERVERS = ("nginx", "apache")
CERTIFICATE = "certificate.pem"
"""The file with the certificate and its private key, in the directory of the configuration."""

STOP = ((signal.SIGTERM, 10.0),)  # both close all connections at once

# Like /etc/nginx/nginx.conf of Debian, but without files outside of the directory, and with compression of JSON, as on
# many servers. `user` is for root only.
NGINX = """
daemon off;
{user}
worker_processes 1;
pid pid;
error_log log;
events {{}}
http {{
    access_log off;
    gzip on;
    gzip_types {types};
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
{site}
}}
"""

# Like /etc/apache2/apache2.conf of Debian, with compression of JSON. Apache refuses to serve as root.
APACHE = """
Define APACHE_RUN_DIR {directory}
ServerRoot {directory}
ServerName localhost
PidFile pid
ErrorLog log
{user}
{modules}
AddOutputFilterByType DEFLATE {types}
{site}
"""
TYPES = "application/json application/problem+json application/x-ndjson"
APACHE_MODULES = Path("/etc/apache2/mods-available")
DEFAULT_MODULES = ("mpm_event", "alias", "authz_core", "deflate", "env", "filter", "mime", "reqtimeout", "setenvif")
"""The modules that Debian enables and that change responses, or that the configuration needs."""


@contextmanager
def run_recommended(server: str, service: str, *, path: str = "/") -> Iterator[str]:
    """Runs a proxy with the file of docs/deployment, and yields its address: https, and with the path at its end.

    Only ports, the files of the certificate, and the path are replaced.
    """
    redirect, port = free_port(), free_port()
    text = (FOLDER / f"{server}.conf").read_text()
    replacements = {
        r"(?m)^ *listen \[::\].*": "",  # the machine may have no IPv6
        "listen 80;": f"listen 127.0.0.1:{redirect};",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        r"<VirtualHost \*:80>": f"Listen 127.0.0.1:{redirect}\n<VirtualHost 127.0.0.1:{redirect}>",
        r"<VirtualHost \*:443>": f"Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>",
        r"/etc/letsencrypt/live/todo\.example\.com/(fullchain|privkey)\.pem": CERTIFICATE,
        r"127\.0\.0\.1:8080(?!/metrics)": urlsplit(service).netloc,
        r"(?m)^(\s*(?:location =|location|<Location)) /": rf"\1 {path}",
    }
    for pattern, replacement in replacements.items():
        text = re.sub(pattern, replacement, text)
    with run_proxy(server, text, port):
        yield f"https://127.0.0.1:{port}{path}"


@contextmanager
def run_proxy(server: str, site: str, port: int, modules: Sequence[str] = ()) -> Iterator[Path]:
    """Runs nginx or Apache with this site, which listens on this port. Yields its log."""
    program = require("nginx" if server == "nginx" else "apache2")
    with tempfile.TemporaryDirectory(prefix="todo-service-proxy-") as name:
        directory, is_root = Path(name), os.geteuid() == 0
        if server == "nginx":
            user = "user root;" if is_root else ""
            text = NGINX.format(directory=directory, user=user, types=TYPES, site=site)
            command = [program, "-p", name, "-e", "log", "-c", "conf"]
        else:
            nobody = pwd.getpwnam("nobody")
            user = f"User nobody\nGroup {grp.getgrgid(nobody.pw_gid).gr_name}" if is_root else ""
            loaded = "\n".join(_load([*DEFAULT_MODULES, *_recommended_modules(), *modules]))
            text = APACHE.format(directory=directory, user=user, modules=loaded, types=TYPES, site=site)
            command = [program, "-f", f"{name}/conf", "-DFOREGROUND"]
        (directory / "conf").write_text(text)
        (directory / CERTIFICATE).write_text("".join(_certificate()))
        with (
            (directory / "output").open("wb") as output,
            run_child(command, STOP, stdout=output, stderr=output) as child,
        ):
            _wait_for(child, port, directory)
            yield directory / "log"


def trusting() -> ssl.SSLContext:
    """Trusts the certificate of the proxies only."""
    return ssl.create_default_context(cadata=_certificate()[0])


def _recommended_modules() -> list[str]:
    """The modules in the command of docs/deployment/README.md."""
    [command] = [line for line in page("docs/deployment/README.md").commands() if line.startswith("a2enmod ")]
    return command.split()[1:]


def _load(modules: Sequence[str]) -> Iterator[str]:
    """The lines that load these modules and those on which they depend, like a2enmod."""
    pending, loaded = list(modules), set[str]()
    while pending:
        name = pending.pop(0)
        load = (APACHE_MODULES / f"{name}.load").read_text()
        depends = re.findall(r"(?m)^# Depends: (.*)$", load)
        missing = [each for line in depends for each in line.split() if each not in loaded]
        if missing:
            pending = [*missing, name, *pending]
        elif name not in loaded:
            loaded.add(name)
            yield load
            if (configuration := APACHE_MODULES / f"{name}.conf").exists():
                yield f"Include {configuration}"


def _wait_for(child: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    def listens() -> bool:
        with socket.socket() as client:
            return child.poll() is not None or client.connect_ex(("127.0.0.1", port)) == 0

    wait_until_blocking(listens)
    if child.poll() is not None:
        logs = (directory / name for name in ("output", "log"))
        raise RuntimeError("".join(log.read_text() for log in logs if log.exists()))


@cache
def _certificate() -> tuple[str, str]:
    """A certificate for 127.0.0.1 and its private key, in PEM."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now, addresses = datetime.now(UTC), x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(addresses, critical=True).sign(key, hashes.SHA256())
    pem, pkcs8, unencrypted = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    return certificate.public_bytes(pem).decode(), key.private_bytes(pem, pkcs8, unencrypted).decode()
