"""A large file over HTTP: resumed where it was cut, never taken for whole before it is."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import requests
from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from ml.data.dataset import DataError

TIMEOUT = (10, 60)  # seconds to connect, and between two pieces
CHUNK = 2**14  # bytes; at most so much is lost when the connection is cut


class _State(BaseModel):
    """What the part on disk is a part of; kept beside it."""

    address: str
    validator: str | None
    total: int | None


def fetch(url: str, address: str, part: Path, progress: bool = True) -> None:
    """Download ``url`` to ``part``, or what is missing of it; a cut connection is taken up again while that helps.

    Args:
        url: An http: or https: address.
        address: The same without secrets, for messages and for the record of what ``part`` belongs to.
        part: The file; ``forget`` removes it and its record.
        progress: Show a progress bar on standard error.

    Raises:
        DataError: No network, no such file, no space, …; what has come so far is kept for the next call.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    while True:
        before = _size(part)
        try:
            return _continue(url, address, part, progress)
        except requests.HTTPError as error:
            status, reason = error.response.status_code, error.response.reason
            raise DataError(f"{address}: the server answers {status} ({reason}): check the address.") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if _size(part) <= before:
                raise DataError(
                    f"{address} cannot be reached ({_root(error)}): check the network and run this again, "
                    "it goes on where it stopped."
                ) from error
        except requests.RequestException as error:
            raise DataError(f"{address} is no address to download from ({error}).") from error
        except OSError as error:
            raise DataError(f"{part} cannot be written ({error.strerror}): make room and run this again.") from error


def forget(part: Path) -> None:
    """Remove a part and its record."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def _continue(url: str, address: str, part: Path, progress: bool) -> None:
    state = _read_state(part, address)
    offset = _size(part) if state else 0
    if state and state.total == offset:
        return
    with _get(url, offset, state) as (response, start):
        state = _State(address=address, validator=_validator(response), total=_total(response, start))
        free = shutil.disk_usage(part.parent).free
        if state.total and state.total - start > free:
            raise DataError(
                f"{address} needs {state.total - start:,} bytes, but {part.parent} has {free:,} free: make room."
            )
        with part.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            _record(part).write_text(state.model_dump_json(), encoding="utf-8")
            with tqdm(
                desc="download", total=state.total, initial=start, unit="B", unit_scale=True, disable=not progress
            ) as bar:
                for piece in response.iter_content(CHUNK):
                    file.write(piece)
                    bar.update(len(piece))
    if state.total and _size(part) != state.total:
        raise requests.ConnectionError(f"{_size(part):,} of {state.total:,} bytes came")


@contextlib.contextmanager
def _get(url: str, offset: int, state: _State | None) -> Iterator[tuple[requests.Response, int]]:
    """The response, and the position in the file at which its body starts."""
    headers = {"Accept-Encoding": "identity"}
    if offset and state and state.validator:
        resume = headers | {"Range": f"bytes={offset}-", "If-Range": state.validator}
        with requests.get(url, headers=resume, stream=True, timeout=TIMEOUT) as response:
            # Some servers send a range without minding If-Range, and some from another position.
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")
            if response.status_code == 206 and begins and _validator(response) == state.validator:
                yield response, offset
                return
            if response.status_code == 200:
                yield response, 0
                return
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        yield response, 0


def _validator(response: requests.Response) -> str | None:
    """What If-Range may be asked with: a strong ETag, else the date."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if etag.startswith("W/") else etag


def _total(response: requests.Response, start: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() else None


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path, address: str) -> _State | None:
    try:
        state = _State.model_validate_json(_record(part).read_bytes())
    except (OSError, ValidationError):
        return None
    return state if state.address == address else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _root(error: BaseException) -> str:
    """The system's own words, below the layers of requests and urllib3."""
    while error.__context__ is not None:
        error = error.__context__
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
