"""How `/api/v1` reads requests and writes answers: what lists may be asked for, views as JSON, one shape for every error, and OpenAPI of all.

Answers are msgspec's, which is quick, and says their JSON Schema itself: `described` names it for a route, `openapi_of` puts all of them into the
document. Every error is `{"error": "<a sentence>"}`; the status says whose fault it is.
"""

from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from clusterodm.libs.common.errors import BusFailed, ClusterError, NodeUnreachable, NotFound
from clusterodm.libs.common.model.nodes import LABELS_COUNT
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.access.roles import NEEDS_ROLE
from clusterodm.services.admin.commands.core.answers import (
    Answer,
    Declined,
    DoneWithNote,
    Failed,
    Invalid,
    TaskChanged,
    Unavailable,
)
from clusterodm.services.admin.web.core.views import LARGEST_PAGE, MOST_PER_PAGE, ActDone, Problem, Wanted
from clusterodm.services.admin.web.core.visitors import is_json

Body = TypeVar("Body")
Order = Literal["asc", "desc"]
Text = Annotated[str, Query(max_length=200)]
Page = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
PerPage = Annotated[int, Query(ge=1, le=MOST_PER_PAGE)]

REFUSALS: Final[tuple[tuple[type[ClusterError], int], ...]] = (
    (NotFound, 404),
    (BusFailed, 503),
    (NodeUnreachable, 502),
)
FORBIDDEN: Final = 403
CONFLICT: Final = 409
PROBLEMS: Final = {
    400: "The request cannot be read",
    403: "Whoever asks has not the role for it; or it came from another page, or without X-Requested-With",
    404: "There is no such thing",
    409: "It is not done: what it asks for does not go with how things are, and the answer says why",
    413: "The request is too large",
    415: "The body is not JSON by name",
    422: "Something in the request is not as it should be",
    503: "The service that knows does not answer",
}
NOT_SIGNED_IN: Final = {"description": "Nobody has signed in, where that is needed"}
REF: Final = "#/components/schemas/{name}"


class Views:
    """The types of answers and bodies, collected as routes are made."""

    def __init__(self) -> None:
        self.types: dict[str, Any] = {}

    def described(self, answer: Any, *problems: int, body: Any = None) -> dict[str, Any]:
        """Say for a route what it answers, what may be wrong, and what it takes."""
        responses: dict[int | str, Any] = {200: self._content(answer, "Done, or found"), 401: NOT_SIGNED_IN}
        for code in (422, 503, *problems, *((400, 403, 413, 415) if body is not None else ())):
            responses[code] = self._content(Problem, PROBLEMS[code])
        extra: dict[str, Any] = {}
        if body is not None:
            required = any(field.required for field in msgspec.structs.fields(body))
            extra = {"requestBody": {"required": required, **self._content(body, "")}}
            extra["requestBody"].pop("description")
        return {"responses": responses, "openapi_extra": extra}

    def text(self, media_type: str, *problems: int) -> dict[str, Any]:
        """Say for a route that it answers with text, and what may be wrong."""
        answer = {"description": "Done, or found", "content": {media_type: {"schema": {"type": "string"}}}}
        wrong = {code: self._content(Problem, PROBLEMS[code]) for code in (422, 503, *problems)}
        return {"responses": {200: answer, 401: NOT_SIGNED_IN, **wrong}, "response_class": Response}

    def _content(self, kind: Any, description: str) -> dict[str, Any]:
        (schema,), _ = msgspec.json.schema_components([kind], ref_template=REF)
        self.types[repr(kind)] = kind
        return {"description": description, "content": {"application/json": {"schema": schema}}}

    def components(self) -> dict[str, Any]:
        """Give the schema of every type."""
        _, components = msgspec.json.schema_components(list(self.types.values()), ref_template=REF)
        return components


Labels = (
    Annotated[tuple[Annotated[str, msgspec.Meta(max_length=100)], ...], msgspec.Meta(max_length=LABELS_COUNT)]
    | Annotated[str, msgspec.Meta(max_length=4000)]
)
"""A list, or a text with commas or spaces between them, as a field of a page sends it."""


def openapi_of(app: FastAPI, views: Views) -> dict[str, Any]:
    """Write the document of the API."""
    document = get_openapi(
        title="ClusterODM",
        version=VERSION,
        description=(
            "What operators see and do. Lists are searched, filtered, sorted and paged by the server. Every error is"
            ' `{"error": "<a sentence>"}`. Whatever changes something needs a header `X-Requested-With`, with any value.'
        ),
        routes=app.routes,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.clear()
    schemas.update(views.components())
    return document


def said(view: Any) -> Response:
    """Answer with a view."""
    return Response(msgspec.json.encode(view), media_type="application/json")


def done(answer: Answer) -> Response:
    """Say what came of a command. Raises HTTPException where nothing did."""
    match answer:
        case Declined(reason) | Failed(reason):
            raise HTTPException(code_of(reason), reason)
        case TaskChanged(error) if error:
            raise HTTPException(code_of(error), error)
        case Invalid(reason):
            raise HTTPException(404, reason)
        case Unavailable(reason):
            raise HTTPException(503, reason)
        case DoneWithNote(text):
            return said(ActDone(message=text))
        case _:
            return said(ActDone())


def code_of(reason: str) -> int:
    """Say as which status a refusal goes."""
    if reason.startswith(NEEDS_ROLE):
        return FORBIDDEN
    return 404 if "there is no such" in reason else CONFLICT


def listing(page: Page = 1, per_page: PerPage = 50, search: Text = "") -> Wanted:
    """Read what every list may be asked for."""
    return Wanted(search=search, page=page, per_page=per_page)


ListQuery = Annotated[Wanted, Depends(listing)]


def changed(wanted: Wanted, states: list[Any] | None = None, sort: str = "", order: str = "asc") -> Wanted:
    """Add what some lists may be asked for besides."""
    return replace(wanted, states=tuple(states or ()), sort=sort, descending=order == "desc")


def router_of(tag: str) -> APIRouter:
    """Begin a group of routes."""
    return APIRouter(prefix="/api/v1", tags=[tag])


async def body_of(request: Request, kind: type[Body]) -> Body:
    """Read the body of a request; without one, all is at its default. Raises HTTPException."""
    content = await request.body()
    if content and not is_json(request.headers):
        raise HTTPException(415, "The body is not JSON by name (Content-Type).")
    try:
        return msgspec.json.decode(content or b"{}", type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise HTTPException(422, field_first(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(400, "The body is not JSON.") from None


def field_first(reason: str) -> str:
    """Say which field is wrong as queries do: by its name, and then why."""
    why, _, place = reason.partition(" - at `$.")
    return f"{place.removesuffix('`')}: {why}" if place else reason


async def cluster_error(_request: Request, error: Exception) -> Response:
    """Say what the cluster has refused, or that it does not answer."""
    code = next((code for kind, code in REFUSALS if isinstance(error, kind)), CONFLICT)
    message = error.message if isinstance(error, ClusterError) else "It failed."
    code = FORBIDDEN if message.startswith(NEEDS_ROLE) else code
    if code == 503:  # noqa: PLR2004 what failed inside is no news for whoever looks from outside
        message = "The service that knows this does not answer."
    return JSONResponse({"error": message}, status_code=code)


async def http_error(_request: Request, error: Exception) -> Response:
    """Say what is wrong with a request; nothing of our insides."""
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    return JSONResponse(
        {"error": str(known.detail or "Not found.")}, status_code=known.status_code, headers=known.headers
    )


async def validation_error(_request: Request, error: Exception) -> Response:
    """Say which part of an address cannot be read, and why."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    reasons = (f"{'.'.join(str(place) for place in each['loc'][1:])}: {each['msg']}" for each in found)
    return JSONResponse({"error": "; ".join(reasons)}, status_code=422)
