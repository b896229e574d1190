"""The shapes of the answers, for /openapi.json; the hot path builds plain dictionaries of the same shape."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from services.inference.problems import MEDIA_TYPE


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Model(_Answer):
    """Which model answered."""

    name: str
    version: str


class ReadyModel(Model):
    """The loaded model and what it can tell apart."""

    classes: list[str] = Field(description="in the model's own order")


class Classification(_Answer):
    """What one picture shows."""

    label: str = Field(description="the most probable class")
    confidence: float = Field(ge=0, le=1, description="its probability")
    probabilities: dict[str, float] = Field(description="every class; together 1")
    uncertain: bool | None = Field(
        description="the picture is doubtful, or unlike those learned from; null if the model has no limits for that"
    )


class Prediction(Classification):
    """The answer for one picture."""

    model: Model


class Predictions(_Answer):
    """The answer for several pictures, in the order they were sent."""

    predictions: list[Classification]
    model: Model


class Answer(RootModel[Prediction | Predictions]):
    """The label of one picture, or of several in the order they were sent."""


class Health(_Answer):
    """The process is alive."""

    status: Literal["alive"]


class Ready(_Answer):
    """Predictions can be made."""

    status: Literal["ready"]
    model: ReadyModel
    refused: str | None = Field(description="why a newer bundle, put in place since, is not served")


class ProblemDetails(_Answer):
    """What went wrong and what to do about it (RFC 9457)."""

    type: str = Field(description="name of the sort of problem, for programs")
    title: str = Field(description="the sort of problem, for people")
    status: int
    detail: str = Field(description="what is wrong with this request and what to do")
    request_id: str = Field(description="the same as in the X-Request-ID header and in the log")
    index: int | None = Field(default=None, description="which of several pictures is meant, from zero")


def content(media_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    """An OpenAPI response object with one media type."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def problem(description: str) -> dict[str, Any]:
    """An OpenAPI response object for an error."""
    return content(MEDIA_TYPE, {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}, description)
