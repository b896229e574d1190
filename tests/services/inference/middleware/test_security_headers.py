import re

import pytest

from tests import drawn_images as images
from tests.services.inference.client import create_client

PAGE = {"Origin": "https://cats.example.com"}


def test_every_answer_has_the_headers(client):
    paths = ["/", "/docs", "/health", "/openapi.json", "/static/page.js", "/docs/static/js/swagger-ui-bundle.js"]
    answers = [client.get(path) for path in [*paths, "/nothing", "/predict"]]
    answers += [client.predict(images.plain()), client.predict(b"text")]
    assert {response.status_code for response in answers} == {200, 404, 405, 415}
    for found in (response.headers for response in answers):
        assert "default-src 'none'" in found["Content-Security-Policy"]
        assert "unsafe" not in found["Content-Security-Policy"]
        assert found["X-Content-Type-Options"] == "nosniff"
        assert found["Referrer-Policy"] == "no-referrer"
        assert found["Cross-Origin-Resource-Policy"] == found["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=(self)" in found["Permissions-Policy"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_hold_no_script_or_style_of_their_own(client, path):
    text = client.get(path).text
    assert re.findall(r"<script[^>]*>", text)
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", text)


def test_no_other_page_may_read_answers_by_default(client):
    for response in (client.options("/predict", headers=PAGE), client.get("/health", headers=PAGE)):
        assert not [name for name in dict(response.headers) if name.startswith("Access-Control")]


def test_page_of_an_allowed_origin_may_read_every_answer(bundle, tmp_path):
    (tmp_path / "keys").write_text("page:0123456789abcdef\n")
    options = {"api_keys_file": tmp_path / "keys", "rate_limit": "1/day", "max_upload_bytes": 10_000}
    client = create_client(model_dir=bundle, cors_origins="https://cats.example.com/, http://localhost:3000", **options)
    question = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for _ in range(3):  # uncounted, because browsers ask without a key
        allowed = client.options("/predict", headers=PAGE | question)
        assert allowed.status_code == 200
        assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    key = PAGE | {"Authorization": "Bearer 0123456789abcdef"}
    answers = [client.send(images.plain(), headers=headers) for headers in (PAGE, key, key)]
    answers += [client.get("/nothing", headers=PAGE), client.get("/predict", headers=PAGE), allowed]
    assert {response.status_code for response in answers} == {200, 401, 404, 405, 429}
    for response in answers:
        assert response.headers["Access-Control-Allow-Origin"] == "https://cats.example.com"
        assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]
        assert "Origin" in response.headers["Vary"]
    for other in ({}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}):
        response = client.get("/health", headers=other)
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.headers["Vary"]


def test_any_page_may_be_allowed(bundle):
    client = create_client(model_dir=bundle, cors_origins="*")
    assert client.get("/health", headers=PAGE).headers["Access-Control-Allow-Origin"] == "*"
