"""Download a large file over HTTP, resume after an interruption, and never take a part for the whole.

pooch deletes a file that did not arrive whole and has no resume, so only requests is used.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from ml.data.dataset import DataError

TIMEOUT = (10, 60)  # seconds to connect, and between two chunks
CHUNK = 2**14  # bytes; the most that a cut connection loses


def fetch(url: str, address: str, part: Path, progress: bool = True) -> None:
    """Download ``url`` to ``part``, or the bytes still missing, and reconnect as long as bytes arrive.

    Args:
        url: An http: or https: address.
        address: The same without secrets, for messages and for the record beside ``part``.
        part: The file; ``forget`` removes it and its record.
        progress: Show a progress bar on standard error.

    Raises:
        DataError: The network, the server or the disk fails; the next call resumes.
    """
    while True:
        before = _size(part)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            return _continue(url, address, part, progress)
        except requests.HTTPError as error:
            status, reason = error.response.status_code, error.response.reason
            raise DataError(f"{address}: the server answers {status} ({reason}): check the address.") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if _size(part) <= before:
                raise DataError(
                    f"{address} cannot be reached ({_root(error)}): check the network and run this again to resume."
                ) from error
        except requests.RequestException as error:
            raise DataError(f"{address} is not an address to download from ({error}).") from error
        except OSError as error:
            advice = "make room or give another --to, and run this again"
            raise DataError(f"{part} cannot be written ({error.strerror}): {advice}.") from error


def forget(part: Path) -> None:
    """Remove a partial download and its record."""
    part.unlink(missing_ok=True)
    _record(part).unlink(missing_ok=True)


def _continue(url: str, address: str, part: Path, progress: bool) -> None:
    old = _read_record(part)
    offset = _size(part) if old.get("address") == address else 0
    if offset and offset == old["total"]:
        return
    headers = {"Accept-Encoding": "identity"}
    if offset and old["validator"]:
        headers |= {"Range": f"bytes={offset}-", "If-Range": old["validator"]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response_range = response.headers.get("Content-Range", "")
        validator = _validator(response)
        resumes = response.status_code == 206
        # Some servers ignore If-Range, and some send another range.
        wrong = resumes and not (response_range.startswith(f"bytes {offset}-") and validator == old["validator"])
        if wrong or response.status_code == 416:
            forget(part)
            return _continue(url, address, part, progress)
        response.raise_for_status()
        start = offset if resumes else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        free = shutil.disk_usage(part.parent).free
        if total and total - start > free:
            raise DataError(f"{address} needs {total - start:,} bytes, but {part.parent} has {free:,} free: make room.")
        with part.open("r+b" if start else "wb") as file:
            file.truncate(start)
            file.seek(start)
            record = {"address": address, "validator": validator, "total": total}
            _record(part).write_text(json.dumps(record), encoding="utf-8")
            with tqdm(
                desc="download", total=total, initial=start, unit="B", unit_scale=True, disable=not progress
            ) as bar:
                for chunk in response.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
    if total and _size(part) != total:
        raise requests.ConnectionError(f"{_size(part):,} of {total:,} bytes came")


def _validator(response: requests.Response) -> str | None:
    """Return the value for If-Range: a strong ETag, else the date."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if etag.startswith("W/") else etag


def _record(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_record(part: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_record(part).read_bytes()))
    except (OSError, ValueError):
        return {}


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _root(error: BaseException) -> str:
    """Return the system's message, below the layers of requests and urllib3."""
    while error.__context__ is not None:
        error = error.__context__
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
