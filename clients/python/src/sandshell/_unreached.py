"""Why a server cannot be reached, in words that say what to do."""

from __future__ import annotations

import os
import socket
import ssl

# How long each look may take, in seconds.
_LOOK = 2.0

# What OpenSSL says of a certificate, by its numbers.
_OTHER_NAME = (62, 64)
_NOT_VALID_NOW = (9, 10)


def address_of(netloc: str, scheme: str) -> tuple[str, int]:
    """Host and port of an address."""
    host, colon, port = netloc.rpartition(":")
    if not colon or not port.isdigit():
        host, port = netloc, "443" if scheme == "https" else "80"
    return host.strip("[]"), int(port)


def why(scheme: str, netloc: str, ca: str | None) -> str:
    """Looks what is wrong; empty when nothing is seen that explains it."""
    host, port = address_of(netloc, scheme)
    try:
        connection = socket.create_connection((host, port), _LOOK)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return f"there is no host of the name {host!r}: look at the address"
        return f"the name {host!r} cannot be looked up ({error.strerror}): look at the address, and at this machine's network"
    except ConnectionRefusedError:
        return (
            f"nobody listens at port {port} of {host}: start a server there (`sandshell serve`), or name another one with"
            " server= or SANDSHELL_SERVER"
        )
    except TimeoutError:
        return f"{host} does not answer at port {port}: look at the address, and whether a firewall is between"
    except (OSError, UnicodeError) as error:
        return f"{host} cannot be reached: {error}"
    with connection:
        connection.settimeout(_LOOK)
        return _what_is_spoken(connection, scheme, host, ca)


def _what_is_spoken(connection: socket.socket, scheme: str, host: str, ca: str | None) -> str:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        return f"the file {os.fspath(ca or '')!r} of the authority's certificate cannot be used: {error}"
    # What gRPC speaks.
    context.set_alpn_protocols(["h2"])
    if scheme == "http":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(connection, server_hostname=host):
            pass
    except ssl.SSLCertVerificationError as error:
        said = error.verify_message
        if error.verify_code in _OTHER_NAME:
            return f"its certificate is for another name than {host!r} ({said}): use a name or an address that is in it"
        if error.verify_code in _NOT_VALID_NOW:
            return f"its certificate is not valid now ({said}): the server needs another one"
        trusted = f"the file {os.fspath(ca)!r}" if ca else "what this system trusts"
        return (
            f"its certificate is of an authority that is not in {trusted} ({said}): give the file of the authority's"
            " certificate with ca= of Client, or SANDSHELL_CA"
        )
    except OSError:
        # It speaks no TLS.
        if scheme == "https":
            return "it speaks no TLS: write http:// instead of https://, or give the server a certificate"
        return "somebody listens there who does not answer as a Sandshell server does: look at the port"
    return "it speaks TLS: write https:// instead of http://" if scheme == "http" else ""
