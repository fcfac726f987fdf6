"""Who is calling, and what for: `Authorization: Bearer <API key>`, and the key's scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission

from jobs.api.errors import MissingScope
from jobs.models import Client, Scope
from jobs.services import find_client

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


def client_of(request: Request) -> Client:
    """The client whose key made the request."""
    client = request.auth
    assert isinstance(client, Client)
    return client


class BearerAuthentication(BaseAuthentication):
    """The calling client is both `request.user` and `request.auth`."""

    def authenticate(self, request: Request) -> tuple[Client, Client] | None:
        """None without a key; raises AuthenticationFailed when the key is not valid."""
        scheme, _, key = get_authorization_header(request).partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        client = find_client(key.strip().decode("latin-1"))
        if client is None:
            raise AuthenticationFailed("The API key is not valid.", code="invalid_key")
        return client, client

    def authenticate_header(self, request: Request) -> str:
        """What a 401 answers in WWW-Authenticate."""
        return "Bearer"


class HasScope(BasePermission):
    """The key has the scope that the view names as `scope`; views that name none are of jobs."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """False without a key. Raises MissingScope."""
        client = request.auth
        if not isinstance(client, Client):
            return False
        scope = getattr(view, "scope", Scope.JOBS)
        if scope not in client.scopes:
            raise MissingScope(
                f"This key lacks the scope {scope}. Staff give scopes when they make a key.",
                scope=scope,
            )
        return True


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The same in the OpenAPI document."""

    target_class = BearerAuthentication
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """An HTTP bearer scheme."""
        return {"type": "http", "scheme": "bearer", "description": "An API key of your client."}
