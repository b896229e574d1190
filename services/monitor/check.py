"""Send images to the running service and sum up its answers."""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from pydantic import BaseModel, ValidationError

from services.monitor import test_images
from services.monitor.deadline import TimeUp, time_limit
from services.monitor.proxies import through
from services.monitor.result import RECALL_PREFIX, Result, class_name, printable, recall_metric
from services.monitor.settings import Settings, mask_credentials

MAX_REASONS = 5
GENERATED = "the generated image"
# So that the service counts these images apart from its clients'.
HEADERS = {"X-Request-Source": "monitor"}


class _Model(BaseModel):
    name: str
    version: str


class _Answer(BaseModel):
    label: str
    confidence: float
    probabilities: dict[str, float]
    model: _Model


@dataclass(frozen=True)
class _Outcome:
    """The answer to one image and its latency in milliseconds, or the reason for none."""

    image: str
    label: str | None
    answer: _Answer | None = None
    latency: float = 0.0
    reason: str = ""

    @property
    def correct(self) -> bool:
        return bool(self.answer and self.label and class_name(self.answer.label) == class_name(self.label))


def run(settings: Settings) -> Result:
    """Send all images to the service, one after the other; every failure becomes part of the result."""
    started, begin = time.time_ns() // 1_000_000, time.monotonic_ns()
    images: list[tuple[str | None, Path | None]] = []
    problems, notes = [], []
    if settings.labelled_images:
        try:
            found = test_images.labelled(settings.labelled_images)
            images += [(image.label, image.path) for image in found.pick(settings.check_pictures)]
            if found.empty:
                problems.append(f"LABELLED_IMAGES has no image of {printable(', '.join(found.empty))}.")
            notes += [f"LABELLED_IMAGES: {note}" for note in found.notes()]
        except test_images.TestImagesError as error:
            problems.append(f"LABELLED_IMAGES: {error}")
    outcomes = _predict_all(settings, images or [(None, None)])
    metrics = _metrics(outcomes)
    accuracy = metrics.get("post_deploy_accuracy")
    if settings.min_accuracy is not None and accuracy is not None and accuracy < settings.min_accuracy:
        problems.append(f"The accuracy is {accuracy:.4f}, below MIN_ACCURACY={settings.min_accuracy}.")
    models = [o.answer.model for o in outcomes if o.answer]
    return Result(
        started=started,
        ended=started + (time.monotonic_ns() - begin) // 1_000_000,  # the clock may have been set back
        healthy=not (problems or metrics["post_deploy_failures"]),
        predict_url=mask_credentials(settings.predict_url),
        # Two versions answer during a roll-out.
        model_name=", ".join(sorted({model.name for model in models})) or None,
        model_version=", ".join(sorted({model.version for model in models})) or None,
        metrics=metrics,
        classes=_classes(outcomes),
        problems=problems + _problems(outcomes) + notes,
    )


def _predict_all(settings: Settings, images: list[tuple[str | None, Path | None]]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    try:
        with time_limit(settings.check_timeout), requests.Session() as session:
            session.headers.update(HEADERS)
            if settings.predict_api_key_file:
                session.auth = _api_key(settings.predict_api_key_file.read_text().strip())
            for label, path in images:
                outcomes.append(_predict(session, settings, label, path))
    except TimeUp:
        reason = f"not answered within CHECK_TIMEOUT={settings.check_timeout:g} seconds for all images"
        outcomes += [_Outcome(_name(path), label, reason=reason) for label, path in images[len(outcomes) :]]
    return outcomes


def _api_key(key: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Authenticate requests with an API key; unlike a plain header, this wins over a login in ~/.netrc."""

    def authenticate(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return authenticate


def _name(path: Path | None) -> str:
    return printable(path.name) if path else GENERATED


def _predict(session: requests.Session, settings: Settings, label: str | None, path: Path | None) -> _Outcome:
    def failed(reason: str) -> _Outcome:
        return _Outcome(_name(path), label, reason=reason)

    try:
        data = path.read_bytes() if path else test_images.generate()
    except OSError as error:
        return failed(f"the file cannot be read ({error.strerror})")
    url = f"{settings.predict_url}/predict"
    begin = time.perf_counter()
    try:
        # Following a redirect would turn the POST into a GET.
        response = session.post(
            url, files={"file": ("image", data)}, timeout=settings.predict_timeout, allow_redirects=False
        )
    except requests.Timeout:
        return failed(f"no answer within PREDICT_TIMEOUT={settings.predict_timeout:g} seconds")
    except requests.RequestException as error:
        return failed(f"{mask_credentials(url)} cannot be reached{through(url)}, or broke off ({type(error).__name__})")
    latency = 1000 * (time.perf_counter() - begin)
    if response.status_code != 200:
        return failed(f"HTTP {response.status_code}{_detail(response)}")
    try:
        answer = _Answer.model_validate_json(response.content)
    except ValidationError:
        return failed(f"{mask_credentials(url)} answered 200, but not with a prediction")
    return _Outcome(_name(path), label, answer, latency)


def _detail(response: requests.Response) -> str:
    """Return the target of a redirect, or the ``detail`` of an RFC 9457 problem."""
    if location := response.headers.get("Location"):
        return f" to {location}: set PREDICT_URL to the service's address"
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
        # An image without an answer counts as wrong: the accuracy falls when the service fails.
        metrics["post_deploy_accuracy"] = statistics.fmean(o.correct for o in outcomes)
        by_class: dict[str, list[bool]] = {}
        for outcome in outcomes:
            by_class.setdefault(class_name(outcome.label or ""), []).append(outcome.correct)
        metrics |= {recall_metric(label): statistics.fmean(correct) for label, correct in by_class.items()}
    else:
        metrics["post_deploy_predict_success"] = float(not failures)
    metrics["post_deploy_pictures"] = len(outcomes)
    metrics["post_deploy_failures"] = failures
    if latencies := [o.latency for o in outcomes if o.answer]:
        # statistics.quantiles needs two values; doubling one changes no quantile.
        cuts = statistics.quantiles(latencies * 2 if len(latencies) == 1 else latencies, n=20, method="inclusive")
        metrics["post_deploy_latency_p50_ms"] = cuts[9]
        metrics["post_deploy_latency_p95_ms"] = cuts[18]
    return metrics


def _classes(outcomes: list[_Outcome]) -> dict[str, str]:
    """Name the classes whose metric has another name."""
    labels = sorted({class_name(o.label) for o in outcomes if o.label})
    return {name: printable(label) for label in labels if (name := recall_metric(label)) != RECALL_PREFIX + label}


def _problems(outcomes: list[_Outcome]) -> list[str]:
    reasons = Counter(o.reason for o in outcomes if not o.answer)
    problems = []
    for reason, count in reasons.most_common(MAX_REASONS):
        names = [o.image for o in outcomes if o.reason == reason and not o.answer][:3]
        problems.append(f"{count} of {len(outcomes)} not answered: {reason} ({', '.join(names)}{', …' * (count > 3)}).")
    known = {class_name(label): label for o in outcomes if o.answer for label in o.answer.probabilities}
    unknown = sorted({o.label for o in outcomes if o.label and class_name(o.label) not in known}) if known else []
    if unknown:
        problems.append(
            f"The model knows {', '.join(known.values())}, but images are labelled {printable(', '.join(unknown))}: "
            "rename the labels in LABELLED_IMAGES."
        )
    return problems
