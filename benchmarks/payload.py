"""HTTP requests as the bytes that go over the wire, made once and sent many times."""

from collections.abc import Sequence

BOUNDARY = b"benchmark-3f1c0e7a9d"
FIELD = "file"


def request(
    pictures: Sequence[bytes],
    path: str = "/predict",
    multipart: bool = False,
    field: str = FIELD,
    headers: Sequence[str] = (),
) -> bytes:
    """Build a POST request.

    Args:
        pictures: Encoded pictures; one, unless ``multipart``.
        path: What is asked for.
        multipart: Send a form as a browser does; otherwise the picture itself is the body.
        field: Name of the form's field.
        headers: More headers, such as ``Authorization: Bearer …``.

    Raises:
        ValueError: Several pictures without a form.
    """
    if multipart:
        parts = [_part(field, i, picture) for i, picture in enumerate(pictures)]
        body = b"".join(parts) + b"--%s--\r\n" % BOUNDARY
        kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    else:
        if len(pictures) != 1:
            raise ValueError(f"{len(pictures)} pictures do not fit in one body: send them as a form (multipart).")
        body, kind = pictures[0], "image/jpeg"
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body


def requests(pictures: Sequence[bytes], per_request: int = 1, **options: object) -> list[bytes]:
    """Build as many requests as there are pictures, each with the next ``per_request`` of them, round and round."""
    return [
        request([pictures[(i + k) % len(pictures)] for k in range(per_request)], **options)  # type: ignore[arg-type]
        for i in range(len(pictures))
    ]


def _part(field: str, index: int, picture: bytes) -> bytes:
    head = (
        f'--{BOUNDARY.decode()}\r\nContent-Disposition: form-data; name="{field}"; filename="{index}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + picture + b"\r\n"
