import re

import pytest

from tests import drawn_images as images


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
        assert "camera=()" in found["Permissions-Policy"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_hold_no_script_or_style_of_their_own(client, path):
    text = client.get(path).text
    assert re.findall(r"<script[^>]*>", text)
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|javascript:", text)
