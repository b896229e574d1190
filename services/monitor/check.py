"""Asks the running service about pictures and sums up its answers."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import requests
from pydantic import BaseModel, ValidationError
from requests.auth import AuthBase

from services.monitor import test_images as pictures
from services.monitor.deadline import TimeUp, time_limit
from services.monitor.names import masked, printable, recall
from services.monitor.result import Result
from services.monitor.settings import Settings

NAMED = 5
DRAWN = "the drawn picture"


class _Model(BaseModel):
    name: str
    version: str


class _Answer(BaseModel):
    label: str
    confidence: float
    probabilities: dict[str, float]
    model: _Model


class _Key(AuthBase):
    """An API key on each request; as a mere header it would give way to a name and password of ~/.netrc."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


@dataclass(frozen=True)
class _Outcome:
    """What became of one picture: an answer with its latency in milliseconds, or the reason for none."""

    picture: str
    label: str | None
    answer: _Answer | None = None
    latency: float = 0.0
    reason: str = ""

    @property
    def correct(self) -> bool:
        return bool(self.answer and self.label and self.answer.label.casefold() == self.label.casefold())


def run(settings: Settings) -> Result:
    """Ask the service about all pictures, one after the other; whatever happens is a result."""
    started, begin = time.time_ns() // 1_000_000, time.monotonic_ns()
    found: list[tuple[str | None, Path | None]] = []
    problems = []
    useless = False
    if settings.labelled_images:
        try:
            found += [(p.label, p.path) for p in pictures.labelled(settings.labelled_images, settings.check_pictures)]
        except pictures.TestImagesError as error:
            useless = True
            problems.append(f"LABELLED_IMAGES: {error}")
    outcomes = _ask_all(settings, found or [(None, None)])
    metrics = _metrics(outcomes)
    failures = sum(not o.answer for o in outcomes)
    accuracy = metrics.get("post_deploy_accuracy")
    too_low = settings.min_accuracy is not None and accuracy is not None and accuracy < settings.min_accuracy
    if too_low:
        problems.append(f"The accuracy is {accuracy:.4f}, below MIN_ACCURACY={settings.min_accuracy}.")
    models = {(o.answer.model.name, o.answer.model.version) for o in outcomes if o.answer}
    return Result(
        started=started,
        ended=started + (time.monotonic_ns() - begin) // 1_000_000,  # the clock may have been put back meanwhile
        healthy=not (failures or too_low or useless),
        predict_url=masked(settings.predict_url),
        # Two versions answer while a roll-out is under way.
        model_name=", ".join(sorted({name for name, _ in models})) or None,
        model_version=", ".join(sorted({version for _, version in models})) or None,
        metrics=metrics,
        problems=problems + _problems(outcomes),
    )


def _ask_all(settings: Settings, found: list[tuple[str | None, Path | None]]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    try:
        with time_limit(settings.check_timeout), requests.Session() as session:
            if settings.predict_api_key_file:
                session.auth = _Key(settings.predict_api_key_file.read_text().strip())
            for label, path in found:
                outcomes.append(_ask(session, settings, label, path))
    except TimeUp:
        reason = f"not answered within CHECK_TIMEOUT={settings.check_timeout:g} seconds for all pictures"
        missing = found[len(outcomes) :]
        outcomes += [_Outcome(_name(path), label, reason=reason) for label, path in missing]
    return outcomes


def _name(path: Path | None) -> str:
    return printable(path.name) if path else DRAWN


def _ask(session: requests.Session, settings: Settings, label: str | None, path: Path | None) -> _Outcome:
    picture = _name(path)
    try:
        data = path.read_bytes() if path else pictures.drawn()
    except OSError as error:
        return _Outcome(picture, label, reason=f"the file cannot be read ({error.strerror})")
    url = f"{settings.predict_url}/predict"
    begin = time.perf_counter()
    try:
        # A redirect would turn the POST into a GET: it is better named than followed.
        response = session.post(
            url, files={"file": ("picture", data)}, timeout=settings.predict_timeout, allow_redirects=False
        )
    except requests.Timeout:
        return _Outcome(picture, label, reason=f"no answer within PREDICT_TIMEOUT={settings.predict_timeout:g} seconds")
    except requests.RequestException as error:
        reason = f"{masked(url)} cannot be reached, or broke off ({type(error).__name__})"
        return _Outcome(picture, label, reason=reason)
    latency = 1000 * (time.perf_counter() - begin)
    if response.status_code != 200:
        return _Outcome(picture, label, reason=f"HTTP {response.status_code}{_detail(response)}")
    try:
        answer = _Answer.model_validate_json(response.content)
    except ValidationError:
        return _Outcome(picture, label, reason=f"{masked(url)} answered 200, but not with a prediction")
    return _Outcome(picture, label, answer, latency)


def _detail(response: requests.Response) -> str:
    """The sentence of an RFC 9457 problem, or where a redirect points to."""
    if location := response.headers.get("Location"):
        return f" to {location}: set PREDICT_URL to where the service is"
    if "json" not in response.headers.get("Content-Type", ""):
        return ""
    try:
        detail = response.json().get("detail")
    except (ValueError, AttributeError):
        return ""
    return f": {str(detail)[:200]}" if detail else ""


def _metrics(outcomes: list[_Outcome]) -> dict[str, float]:
    failures = sum(not o.answer for o in outcomes)
    metrics: dict[str, float] = {}
    if all(o.label for o in outcomes):
        # A picture without an answer is not a correct one: accuracy falls when the service does.
        metrics["post_deploy_accuracy"] = statistics.fmean(o.correct for o in outcomes)
        by_class: dict[str, list[bool]] = {}
        for outcome in outcomes:
            by_class.setdefault((outcome.label or "").casefold(), []).append(outcome.correct)
        for label, correct in by_class.items():
            metrics[recall(label)] = statistics.fmean(correct)
    else:
        metrics["post_deploy_predict_success"] = float(not failures)
    metrics["post_deploy_pictures"] = len(outcomes)
    metrics["post_deploy_failures"] = failures
    latencies = [o.latency for o in outcomes if o.answer]
    if latencies:
        # With one value both quantiles are that value; statistics wants two.
        cuts = statistics.quantiles(latencies * 2 if len(latencies) == 1 else latencies, n=20, method="inclusive")
        metrics["post_deploy_latency_p50_ms"] = cuts[9]
        metrics["post_deploy_latency_p95_ms"] = cuts[18]
    return metrics


def _problems(outcomes: list[_Outcome]) -> list[str]:
    reasons = Counter(o.reason for o in outcomes if not o.answer)
    problems = []
    for reason, count in reasons.most_common(NAMED):
        names = [o.picture for o in outcomes if o.reason == reason and not o.answer][:3]
        problems.append(f"{count} of {len(outcomes)} not answered: {reason} ({', '.join(names)}{', …' * (count > 3)}).")
    known = {label.casefold(): label for o in outcomes if o.answer for label in o.answer.probabilities}
    unknown = sorted({o.label for o in outcomes if o.label and o.label.casefold() not in known}) if known else []
    if unknown:
        problems.append(
            f"The model knows {', '.join(known.values())}, but pictures are labelled {printable(', '.join(unknown))}: "
            "rename the labels in LABELLED_IMAGES."
        )
    return problems
