"""What one check found: the record that is logged, spooled and sent."""

import uuid

from pydantic import BaseModel, ConfigDict, Field


class Result(BaseModel):
    """One check. Its id makes sure that MLflow gets it once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    result_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    started: int = Field(description="milliseconds since 1970, UTC")
    ended: int = Field(description="milliseconds since 1970, UTC")
    healthy: bool
    predict_url: str
    model_name: str | None = Field(description="as the service answered; None if it did not")
    model_version: str | None
    metrics: dict[str, float]
    problems: list[str] = Field(description="one sentence each: what was not as it should be")
