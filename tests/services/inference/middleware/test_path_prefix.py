import re

import pytest

from tests import drawn_images as images
from tests.services.inference.client import assert_problem, create_client

HEADER = {"X-Forwarded-Prefix": "/a/cats"}
PATHS = ("/", "/docs", "/openapi.json", "/health", "/static/page.css", "/docs/static/css/swagger-ui.css")


def addresses(html):
    return re.findall(r'(?:href|src|action)="([^"#]+)"', html)


@pytest.fixture
def trusting(bundle):
    return create_client(model_dir=bundle, trusted_proxies="127.0.0.1")


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_addresses_are_relative_without_a_prefix(client, page):
    found = addresses(client.get(page).text)
    assert len(found) >= 4
    assert not [address for address in found if address.startswith(("/", "http"))]


@pytest.mark.parametrize("before", ["", "/a/cats"], ids=["stripped", "not stripped"])
def test_prefix_of_a_trusted_proxy_is_used(trusting, before):
    for path in PATHS:
        assert trusting.get(before + path, headers=HEADER).status_code == 200, path
    for page in ("/", "/docs"):
        found = addresses(trusting.get(before + page, headers=HEADER).text)
        assert {address[:8] for address in found} == {"/a/cats/"}
    response = trusting.post(f"{before}/predict", data=images.plain(), headers=HEADER)
    assert response.json["label"] == "red"
    assert trusting.get(f"{before}/openapi.json", headers=HEADER).json["servers"] == [{"url": "/a/cats"}]


def test_prefix_alone_is_the_page(trusting):
    assert "/a/cats/predict" in addresses(trusting.get("/a/cats", headers=HEADER).text)


def test_prefix_of_anybody_else_is_ignored(client):
    assert "servers" not in client.get("/openapi.json", headers=HEADER).json
    assert_problem(client.get("/a/cats/health", headers=HEADER), 404, "not-found")


@pytest.mark.parametrize("prefix", ["//evil.example.com", '/a"><script>', "cats", "/a b", "/"])
def test_prefix_that_is_no_path_is_ignored(trusting, prefix):
    response = trusting.get("/", headers={"X-Forwarded-Prefix": prefix})
    assert response.status_code == 200
    assert not [address for address in addresses(response.text) if address.startswith("/")]


@pytest.mark.parametrize("before", ["", "/cats"])
def test_prefix_of_the_settings_is_used(bundle, before):
    client = create_client(model_dir=bundle, path_prefix="/cats/")
    for path in PATHS:
        assert client.get(before + path).status_code == 200
    assert "/cats/predict" in addresses(client.get(before + "/").text)
    assert client.post(f"{before}/predict", data=images.plain()).json["label"] == "red"
    counted = client.metric("request_count_total", endpoint="/health")
    assert client.get(f"{before}/health").status_code == 200
    assert client.metric("request_count_total", endpoint="/health") == counted + 1
    assert client.get("/catsanddogs/health").status_code == 404
