"""Devices that are known by a certificate: any one passes TLS if its key is there, and the registry knows whose it is."""

import base64
import hashlib

import pytest
from certificates import EC, RSA, Authority, openssl
from thing import TELEMETRY, V5, Thing


def register(device, certificate):
    """Makes the certificate the device's credentials; what they are now."""
    return device.api.post("/api/device/credentials", {
        **device.credentials, "credentialsType": "X509_CERTIFICATE", "credentialsId": None,
        "credentialsValue": certificate.read_text(),
    })


def identity(certificate):
    """How a certificate is named: SHA3-256 of the base 64 of its DER, as openssl and Python's library make it."""
    der = openssl("x509", "-in", certificate, "-outform", "DER")
    return hashlib.sha3_256(base64.b64encode(der)).hexdigest()


@pytest.mark.parametrize("kind", [EC, RSA], ids=["ec", "rsa"])
def test_a_device_is_known_by_its_certificate(things, device, authority, secure, name, version, kind):
    pair = authority.sign(name, kind, usage="clientAuth")
    assert register(device, pair[0])["credentialsId"] == identity(pair[0])
    thing = things(None, version, at=secure(pair))
    assert thing.connack.reason == 0
    assert thing.say(TELEMETRY, {"t": 1}) == 0
    assert device.latest("t") == {"t": 1}


def test_any_authority_will_do(things, device, secure, name, tmp_path, version):
    pair = Authority(tmp_path / "own", "Own").sign(name, usage="clientAuth")
    register(device, pair[0])
    assert things(None, version, at=secure(pair)).connack.reason == 0


def test_a_certificate_that_nobody_has_registered_passes_tls_and_no_further(things, authority, secure, name, version):
    pair = authority.sign(name, usage="clientAuth")
    assert things(None, version, at=secure(pair)).connack.reason == 0x87


def test_the_certificate_counts_and_not_the_user_name(things, device, api, authority, secure, name, version):
    pair = authority.sign(name, usage="clientAuth")
    assert things(api.device().token, version, at=secure(pair)).connack.reason == 0x87
    register(device, pair[0])
    assert things("nonsense", version, at=secure(pair)).connack.reason == 0


def test_without_a_certificate_a_token_is_enough(things, device, secure, version):
    thing = things(device.token, version, at=secure())
    assert thing.connack.reason == 0
    assert thing.say(TELEMETRY, {"t": 1}) == 0


def test_somebody_elses_key_does_not_pass_tls(device, authority, secure, name):
    certificate, _ = authority.sign(name, usage="clientAuth")
    _, key = authority.sign(f"{name}-thief", usage="clientAuth")
    register(device, certificate)
    with pytest.raises(OSError):
        Thing(secure((certificate, key)), V5, None)


def test_a_certificate_that_is_replaced_ends_the_session(things, device, authority, secure, name):
    old, new = (authority.sign(f"{name}-{which}", usage="clientAuth") for which in ("old", "new"))
    device.credentials = register(device, old[0])
    thing = things(None, at=secure(old))
    register(device, new[0])
    thing.farewell()
    assert things(None, at=secure(old)).connack.reason == 0x87
    assert things(None, at=secure(new)).connack.reason == 0
