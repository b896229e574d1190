"""Describe the answers for /openapi.json; the routes build plain dictionaries of the same shape."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from services.inference.problems import MEDIA_TYPE


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Model(_Answer):
    """The model that made the prediction."""

    name: str
    version: str


class ReadyModel(Model):
    """The loaded model and its classes."""

    classes: list[str] = Field(description="in the model's own order")


class Classification(_Answer):
    """The classification of one image."""

    label: str = Field(description="the most probable class")
    confidence: float = Field(ge=0, le=1, description="its probability")
    probabilities: dict[str, float] = Field(description="every class; together 1")
    uncertain: bool | None = Field(
        description="the image is ambiguous or out of distribution; null if the model has no limits for that"
    )


class Prediction(Classification):
    """The answer for one image."""

    model: Model


class Predictions(_Answer):
    """The answer for several images, in the order of the request."""

    predictions: list[Classification]
    model: Model


class Answer(RootModel[Prediction | Predictions]):
    """The classification of one image, or of several in the order of the request."""


class Explanation(_Answer):
    """The parts of an image on which its label depends."""

    label: str = Field(description="the most probable class")
    confidence: float = Field(ge=0, le=1, description="its probability")
    uncertain: bool | None = Field(description="as in the answer of /predict: the map then explains a guess")
    side: int = Field(description="rows of the map, and values in a row")
    values: list[list[Annotated[float, Field(ge=0, le=1)]]] = Field(
        description="from the upper left of the upright image: 1 where covering the image makes the label least "
        "probable, 0 where it does not; all 0 where no part decides"
    )
    area: Literal["image", "center-square"] = Field(
        description="what the map lies on: the whole image, or its largest centred square, as the model sees it"
    )
    lowest_confidence: float = Field(
        ge=0, le=1, description="probability of the label while its most important part is covered"
    )
    model: Model


class Health(_Answer):
    """The process is alive."""

    status: Literal["alive"]


class Ready(_Answer):
    """Predictions can be made."""

    status: Literal["ready"]
    model: ReadyModel
    refused: str | None = Field(description="why a newer bundle is not served")


class ProblemDetails(_Answer):
    """An error and its remedy (RFC 9457)."""

    type: str = Field(description="name of the type of problem, for programs")
    title: str = Field(description="the type of problem, for people")
    status: int
    detail: str = Field(description="the fault of this request, and the remedy")
    request_id: str = Field(description="the same as in the X-Request-ID header and in the log")
    index: int | None = Field(default=None, description="index of the faulty image among several, from zero")


def content(media_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    """Create an OpenAPI response object with one media type."""
    return {"description": description, "content": {media_type: {"schema": schema}}}


def problem(description: str) -> dict[str, Any]:
    """Create an OpenAPI response object for an error."""
    return content(MEDIA_TYPE, {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}, description)
