"""Shows the values in failed assertions of the modules that all tests share."""

import pytest

pytest.register_assert_rewrite(
    "broker", "certificates", "client", "doors", "haproxy", "mosquitto", "plant", "sdk_client", "thing"
)
