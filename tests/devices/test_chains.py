"""Devices that nobody has registered: who has signed their certificate makes them, or gives them back to themselves."""

import base64
import hashlib

import pytest
from certificates import EC, RSA, Authority, chain, openssl
from doors import Door
from plant import Plant, Refused, new_name
from thing import TELEMETRY, V5, V311, Thing

DOMAIN = "devices.example"
NOT_AUTHORIZED = 0x87


@pytest.fixture
def root(tmp_path):
    """The authority of a device maker."""
    return Authority(tmp_path / "root", new_name("root"))


@pytest.fixture
def plain(root, tmp_path):
    """A plant of that maker, which signs devices."""
    return Authority(tmp_path / "plain", new_name("works"), root)


def sign(authority, name, *behind, **options):
    """A device's certificate, its key, and what it shows of those who have signed it."""
    pair = authority.sign(f"{name}.{DOMAIN}", usage="clientAuth", **options)
    return chain(pair, authority, *behind)


def fingerprint(path):
    """As the registry names the first certificate of a file."""
    der = openssl("x509", "-in", path, "-outform", "DER")
    return hashlib.sha3_256(base64.b64encode(der)).hexdigest()


def is_there(api, name):
    try:
        api.by_name(name)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("kind", [EC, RSA], ids=["ec", "rsa"])
def test_a_device_is_made_by_its_first_connect_and_comes_back(things, api, root, plain, secure, name, version, kind):
    profile = api.chain_profile(root)
    pair = sign(plain, name, root, kind=kind)
    assert not is_there(api, name)
    thing = things(None, version, at=secure(pair))
    assert thing.connack.reason == 0
    assert thing.say(TELEMETRY, {"t": 1}) == 0
    made = api.by_name(name)
    assert made.found["deviceProfileId"] == profile["id"]
    assert made.latest("t") == {"t": 1}
    assert (made.credentials["credentialsType"], made.token) == ("X509_CERTIFICATE", fingerprint(pair[0]))
    thing.disconnect()
    assert things(None, version, at=secure(pair)).connack.reason == 0
    assert api.by_name(name).id == made.id, "it is the same device"


def test_whoever_is_known_need_not_show_a_chain(things, api, root, plain, secure, name):
    api.chain_profile(root)
    alone = plain.sign(f"{name}.{DOMAIN}", usage="clientAuth")
    assert things(None, at=secure(alone)).connack.reason == NOT_AUTHORIZED
    assert things(None, at=secure(chain(alone, plain, root))).connack.reason == 0
    assert things(None, at=secure(alone)).connack.reason == 0


def test_an_authority_need_not_be_a_root(things, api, root, plain, secure, name):
    api.chain_profile(plain)
    for which, behind in (("a", ()), ("b", (root,))):
        assert things(None, at=secure(sign(plain, f"{name}-{which}", *behind))).connack.reason == 0
        assert is_there(api, f"{name}-{which}")


def test_the_same_names_with_other_keys_make_no_device(things, api, plant, root, plain, secure, name, tmp_path, version):
    api.chain_profile(root)
    names = [openssl("x509", "-in", one.certificate, "-noout", "-subject", "-nameopt", "multiline").split()[-1].decode()
             for one in (root, plain)]
    forged_root = Authority(tmp_path / "forged-root", names[0])
    forged = Authority(tmp_path / "forged", names[1], forged_root)
    pair = forged.sign(f"{name}.{DOMAIN}", usage="clientAuth")
    checked, refused = plant.figure("chains_checked_total"), plant.figure("chains_refused_total")
    for behind in ((forged, root), (plain, root)):
        assert things(None, version, at=secure(chain(pair, *behind))).connack.reason == NOT_AUTHORIZED
    assert not is_there(api, name)
    assert plant.figure("chains_refused_total") == refused + 2
    # Whose authority nobody knows is refused as every unknown certificate is, and nothing is verified for it.
    assert things(None, version, at=secure(chain(pair, forged, forged_root))).connack.reason == NOT_AUTHORIZED
    assert plant.figure("chains_checked_total") == checked + 2


def test_what_is_over_makes_no_device(things, api, root, plain, secure, name, tmp_path, version):
    api.chain_profile(root)
    closed = Authority(tmp_path / "closed", new_name("closed"), root, is_over=True)
    for pair in (sign(plain, name, root, is_over=True), sign(closed, name, root)):
        assert things(None, version, at=secure(pair)).connack.reason == NOT_AUTHORIZED
    assert not is_there(api, name)
    assert things(None, version, at=secure(sign(plain, name, root))).connack.reason == 0


def test_the_common_name_must_be_what_the_profile_asks_for(things, api, root, secure, name, version):
    api.chain_profile(root, pattern=r"^meter-(\w+)\.")
    other = chain(root.sign(f"{name}.{DOMAIN}", usage="clientAuth"), root)
    assert things(None, version, at=secure(other)).connack.reason == NOT_AUTHORIZED
    fitting = name.replace("-", "")
    pair = chain(root.sign(f"meter-{fitting}.{DOMAIN}", usage="clientAuth"), root)
    assert things(None, version, at=secure(pair)).connack.reason == 0
    assert is_there(api, fitting) and not is_there(api, name)


def test_a_certificate_for_servers_makes_no_device(things, api, root, secure, name):
    api.chain_profile(root)
    pair = chain(root.sign(f"{name}.{DOMAIN}", usage="serverAuth"), root)
    assert things(None, at=secure(pair)).connack.reason == NOT_AUTHORIZED
    assert not is_there(api, name)


@pytest.mark.parametrize("version", [V311, V5], ids=["v311", "v5"])
def test_where_none_are_made_those_who_wait_get_their_certificate(things, api, root, plain, secure, name, version):
    profile = api.chain_profile(root, creates=False)
    pair = sign(plain, name, root)
    assert things(None, version, at=secure(pair)).connack.reason == NOT_AUTHORIZED
    assert not is_there(api, name)
    device = api.device(name, deviceProfileId=profile["id"])
    before = things(device.token)
    assert before.connack.reason == 0
    thing = things(None, version, at=secure(pair))
    assert thing.connack.reason == 0
    before.farewell()
    assert things(device.token).connack.reason == 0x86, "the token is worth nothing now"
    assert thing.say(TELEMETRY, {"t": 1}) == 0
    assert device.latest("t") == {"t": 1}


def test_a_renewed_certificate_ends_the_session_with_the_old_one(things, api, root, plain, secure, name):
    api.chain_profile(root)
    old = sign(plain, name, root)
    first = things(None, at=secure(old))
    made = api.by_name(name)
    renewed = chain(plain.sign(f"{name}.{DOMAIN}", usage="clientAuth"), plain, root)
    second = things(None, at=secure(renewed))
    assert second.connack.reason == 0
    first.farewell()
    assert second.say(TELEMETRY, {"t": 2}) == 0
    after = api.by_name(name)
    assert (after.id, after.token) == (made.id, fingerprint(renewed[0]))


def test_a_device_of_another_profile_is_left_alone(things, api, device, root, plain, secure):
    api.chain_profile(root)
    thing = things(device.token)
    assert things(None, at=secure(sign(plain, device.name, root))).connack.reason == NOT_AUTHORIZED
    assert thing.say(TELEMETRY, {"t": 1}) == 0, "it is connected as before"
    assert api.get(f"/api/device/{device.id}/credentials") == device.credentials


def test_two_makers_have_a_profile_each(things, api, root, plain, secure, name, tmp_path):
    other = Authority(tmp_path / "other", new_name("other"))
    profiles = [api.chain_profile(root), api.chain_profile(other, pattern="(.*)")]
    ours, theirs = sign(plain, f"{name}-a", root), sign(other, f"{name}-b")
    for pair in (ours, theirs):
        assert things(None, at=secure(pair)).connack.reason == 0
    assert api.by_name(f"{name}-a").found["deviceProfileId"] == profiles[0]["id"]
    assert api.by_name(f"{name}-b.{DOMAIN}").found["deviceProfileId"] == profiles[1]["id"]


def test_devices_of_one_maker_come_at_the_same_time(things, api, plain, root, secure, name, ask):
    api.chain_profile(root)
    pairs = [sign(plain, f"{name}-{number}", root) for number in range(12)]
    came = [ask(things, None, at=secure(pair)) for pair in pairs]
    assert [one.result().connack.reason for one in came] == [0] * len(pairs)
    assert all(is_there(api, f"{name}-{number}") for number in range(12))


def test_a_profile_shows_its_authority_and_keeps_it(api, root):
    profile = api.chain_profile(root, creates=False)
    assert (profile["provisionType"], profile["provisionDeviceKey"]) == (
        "X509_CERTIFICATE_CHAIN", fingerprint(root.certificate),
    )
    again = api.post("/api/deviceProfile", profile)
    assert again["profileData"]["provisionConfiguration"] == profile["profileData"]["provisionConfiguration"]
    api.refusal("POST", "/api/deviceProfile", {**profile, "id": None, "name": new_name("p"), "profileData": {
        "provisionConfiguration": {
            "type": "X509_CERTIFICATE_CHAIN", "provisionDeviceSecret": root.certificate.read_text(),
            "certificateRegExPattern": "no group",
        },
    }})


@pytest.mark.parametrize("how", ["term", "kill"])
def test_who_was_made_is_known_after_a_restart(cores, authority, root, plain, name, how):
    plant = Plant(cores, authority.sign("localhost", names=["DNS:localhost", "IP:127.0.0.1"]))
    door = Door(plant.secure, tls={"ca_certs": str(authority.certificate)})
    made = []

    def connect(pair):
        made.append(Thing(door.with_certificate(pair), V5, None))
        return made[-1]

    try:
        plant.api().chain_profile(root)
        whole = sign(plain, name, root)
        thing = connect(whole)
        assert thing.connack.reason == 0
        # What CONNACK has said is kept: the broker may die at once.
        if how == "kill":
            plant.kill()
        else:
            assert plant.stop() == 0
        thing.farewell()
        plant.start()
        alone = plain.folder / f"{name}.{DOMAIN}.pem", whole[1]
        assert connect(alone).connack.reason == 0, "its own certificate is known"
        assert connect(sign(plain, f"{name}-next", root)).connack.reason == 0, "so is the authority"
    finally:
        for thing in made:
            thing.close()
        plant.close()
