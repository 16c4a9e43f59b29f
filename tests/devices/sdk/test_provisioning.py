"""Devices that ask for their credentials with ThingsBoard's SDK, which is then let in with them."""

import pytest
from plant import new_name, until
from tb_device_mqtt import TBDeviceMqttClient


@pytest.fixture
def provision(plant):
    """What the SDK returns: the whole answer, or nothing if the server has refused."""

    def asked(key, secret, **fields):
        address = plant.devices
        return TBDeviceMqttClient.provision(address.host, key, secret, port=address.port, **fields)

    return asked


@pytest.fixture
def open_profile(api):
    """A profile that creates devices: its key and its secret."""
    return api.provisioning_profile("ALLOW_CREATE_NEW_DEVICES")[1:]


def test_a_new_device_gets_a_token_and_is_let_in_with_it(provision, open_profile, connect, api, name):
    answer = provision(*open_profile, device_name=name)
    assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
    connect(answer["credentialsValue"]).send_telemetry({"born": 1})
    made = api.by_name(name)
    until(lambda: made.latest("born")["born"] == 1, "telemetry")
    assert made.attributes("SERVER_SCOPE", "provisionState") == {"provisionState": "provisioned"}


def test_a_new_device_may_bring_its_token(provision, open_profile, connect, name):
    answer = provision(*open_profile, device_name=name, access_token=f"mine-{name}")
    assert answer["credentialsValue"] == f"mine-{name}"
    assert connect(f"mine-{name}").reason == 0


def test_a_new_device_may_bring_a_login(provision, open_profile, connect, name):
    answer = provision(*open_profile, device_name=name, client_id=name, username=f"u-{name}", password="pw")
    assert answer["credentialsType"] == "MQTT_BASIC"
    assert answer["credentialsValue"] == {"clientId": name, "userName": f"u-{name}", "password": "pw"}
    assert connect(f"u-{name}", password="pw", client_id=name).reason == 0


def test_parts_of_a_login_that_the_sdk_sends_as_null_are_absent(provision, open_profile, connect, name):
    answer = provision(*open_profile, device_name=name, username=f"u-{name}", password="pw")
    assert answer["status"] == "SUCCESS"
    assert connect(f"u-{name}", password="pw").reason == 0


def test_a_new_device_may_bring_a_certificate(provision, open_profile, connect, plant, authority, name):
    certificate, key = authority.sign(name, usage="clientAuth")
    answer = provision(*open_profile, device_name=name, hash=certificate.read_text())
    assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "X509_CERTIFICATE")
    tls = {"ca_certs": authority.certificate, "cert_file": certificate, "key_file": key}
    assert connect("", tls={name: str(path) for name, path in tls.items()}).reason == 0


def test_a_new_device_may_be_a_gateway(provision, open_profile, api, name):
    assert provision(*open_profile, device_name=name, gateway=True)["status"] == "SUCCESS"
    assert api.by_name(name).found["additionalInfo"]["gateway"] is True


def test_a_wrong_secret_gets_nothing(provision, open_profile, name):
    assert provision(open_profile[0], "wrong", device_name=name) is None


def test_a_device_that_exists_is_not_made_again(provision, open_profile, device):
    assert provision(*open_profile, device_name=device.name) is None


def test_a_device_that_was_made_in_advance_gets_its_token_once(provision, api, name):
    profile, key, secret = api.provisioning_profile("CHECK_PRE_PROVISIONED_DEVICES")
    made = api.device(name, deviceProfileId=profile["id"])
    assert provision(key, secret, device_name=name)["credentialsValue"] == made.token
    assert provision(key, secret, device_name=name) is None, "once"
    assert provision(key, secret, device_name=new_name()) is None, "nobody has made it"
