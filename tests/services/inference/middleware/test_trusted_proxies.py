import ipaddress

import pytest
from flask import Flask

from services.inference.auth import client_address
from services.inference.middleware.trusted_proxies import TrustedProxies


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("203.0.113.5", None, "203.0.113.5"),
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", ",", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "unknown"),
        ("10.0.0.1", "198.51.100.1:8080", "unknown"),
        ("10.0.0.1", '1.2.3.4, "198.51.100.1, 10.9.9.9', "10.0.0.1"),
        ("::ffff:203.0.113.5", None, "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("", "198.51.100.1", "unknown"),
        ("@", None, "unknown"),
    ],
)
def test_client_is_the_last_hop_that_is_no_trusted_proxy(remote, forwarded, client):
    app = Flask(__name__)
    app.add_url_rule("/", view_func=client_address)
    app.wsgi_app = TrustedProxies(app.wsgi_app, (ipaddress.ip_network("10.0.0.0/8"),))
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert app.test_client().get("/", headers=headers, environ_base={"REMOTE_ADDR": remote}).text == client
