"""Certificates made by openssl: an authority, what it signs, and what it takes back.

Made by a program that shares no line with the broker, so that what the broker accepts is what others make.
"""

import base64
import hashlib
import subprocess

RUN_S = 30
DAYS = "3"
EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
RSA = ["-newkey", "rsa:2048"]

AUTHORITY = """
[ca]
default_ca = ours
[ours]
database = {folder}/index
crlnumber = {folder}/crlnumber
default_md = sha256
default_crl_days = 3
crl_extensions = list
[list]
authorityKeyIdentifier = keyid:always
"""


def openssl(*arguments, stdin=None):
    """What openssl prints; a non-zero exit is a failure."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=stdin, capture_output=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        openssl(
            "req", "-x509", *EC, "-nodes", "-days", DAYS, "-subj", f"/CN={name}",
            "-keyout", self._key, "-out", self.certificate,
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def sign(self, name, kind=EC, names=(), usage="serverAuth"):
        """A certificate for `name`, and perhaps for further names such as DNS:x or IP:1.2.3.4; paths of it and its key."""
        stem = self.folder / name
        certificate, key, request, extensions = (
            stem.with_suffix(suffix) for suffix in (".pem", ".key", ".csr", ".ext")
        )
        openssl("req", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        lines = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        if names:
            lines.append("subjectAltName=" + ",".join(names))
        extensions.write_text("\n".join(lines) + "\n")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", DAYS, "-sha256", "-extfile", extensions, "-out", certificate,
        )
        return certificate, key

    def revoke(self, *certificates):
        """Takes certificates back; the path of the list that says so."""
        config = self.folder / "ca.cnf"
        config.write_text(AUTHORITY.format(folder=self.folder))
        (self.folder / "index").touch()
        (self.folder / "crlnumber").write_text("01\n")
        sign = ["ca", "-config", config, "-cert", self.certificate, "-keyfile", self._key]
        for certificate in certificates:
            openssl(*sign, "-revoke", certificate)
        path = self.folder / "ca.crl"
        openssl(*sign, "-gencrl", "-out", path)
        return path


def fingerprint_of_key(certificate):
    """The SHA-256 of a certificate's public key in base 64, as browsers name it."""
    public = openssl("x509", "-in", certificate, "-pubkey", "-noout")
    encoded = openssl("pkey", "-pubin", "-outform", "der", stdin=public)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()
