"""HTTP requests as raw bytes, built once and sent many times."""

from collections.abc import Sequence

BOUNDARY = "benchmark-3f1c0e7a9d"


def request(
    images: Sequence[bytes], path: str = "/predict", multipart: bool = False, headers: Sequence[str] = ()
) -> bytes:
    """Build a POST request.

    Args:
        images: Encoded images; only one unless ``multipart``.
        path: Path of the route.
        multipart: Send a form, as a browser does; otherwise the image is the body.
        headers: More headers, such as ``Authorization: Bearer …``.

    Raises:
        ValueError: Several images without a form.
    """
    if multipart:
        body = b"".join(_part(index, image) for index, image in enumerate(images)) + f"--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
    elif len(images) == 1:
        body, kind = images[0], "image/jpeg"
    else:
        raise ValueError(f"{len(images)} images do not fit in one body: send them as a form (multipart).")
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *headers,
        "",
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + body


def requests(
    images: Sequence[bytes],
    per_request: int = 1,
    path: str = "/predict",
    multipart: bool = False,
    headers: Sequence[str] = (),
) -> list[bytes]:
    """Build one request for each image; it holds this image and the ``per_request - 1`` after it, cyclically."""
    batches = [[images[(i + k) % len(images)] for k in range(per_request)] for i in range(len(images))]
    return [request(batch, path, multipart, headers) for batch in batches]


def _part(index: int, image: bytes) -> bytes:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{index}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + b"\r\n"
