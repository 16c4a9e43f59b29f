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
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
policy = any
default_md = sha256
default_crl_days = 3
crl_extensions = list
[any]
commonName = supplied
[list]
authorityKeyIdentifier = keyid:always
"""
# From when until when something is valid that is over.
OVER = ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]


def openssl(*arguments, stdin=None):
    """What openssl prints; a non-zero exit is a failure."""
    done = subprocess.run(
        ["openssl", *map(str, arguments)], input=stdin, capture_output=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Authority:
    """A certificate authority in a folder of its own, which has signed itself, or was signed by another one."""

    def __init__(self, folder, name, signer=None, is_over=False):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = folder / "ca.key"
        if signer:
            uses = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
            signer.issue(name, EC, uses, self.certificate, self._key, is_over)
            return
        openssl(
            "req", "-x509", *EC, "-nodes", "-days", DAYS, "-subj", f"/CN={name}",
            "-keyout", self._key, "-out", self.certificate,
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )

    def sign(self, name, kind=EC, names=(), usage="serverAuth", is_over=False):
        """A certificate for `name`, and perhaps for further names such as DNS:x or IP:1.2.3.4; paths of it and its key."""
        stem = self.folder / name
        certificate, key = stem.with_name(f"{name}.pem"), stem.with_name(f"{name}.key")
        uses = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={usage}"]
        if names:
            uses.append("subjectAltName=" + ",".join(names))
        self.issue(name, kind, uses, certificate, key, is_over)
        return certificate, key

    def issue(self, name, kind, uses, certificate, key, is_over):
        """A new key, and a certificate with these extensions; it may be one whose term is over."""
        request, extensions = key.with_suffix(".csr"), key.with_suffix(".ext")
        openssl("req", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions.write_text("\n".join(uses) + "\n")
        if is_over:
            self._ca(*OVER, "-batch", "-notext", "-extfile", extensions, "-in", request, "-out", certificate)
            return
        openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial",
            "-days", DAYS, "-sha256", "-extfile", extensions, "-out", certificate,
        )

    def _ca(self, *arguments):
        """What an authority does that keeps books."""
        config = self.folder / "ca.cnf"
        config.write_text(AUTHORITY.format(folder=self.folder))
        (self.folder / "index").touch()
        (self.folder / "crlnumber").write_text("01\n")
        openssl("ca", "-config", config, "-cert", self.certificate, "-keyfile", self._key, *arguments)

    def revoke(self, *certificates):
        """Takes certificates back; the path of the list that says so."""
        for certificate in certificates:
            self._ca("-revoke", certificate)
        path = self.folder / "ca.crl"
        self._ca("-gencrl", "-out", path)
        return path


def chain(pair, *authorities):
    """The pair as a client shows it with the certificates of these authorities behind its own, the nearest first."""
    certificate, key = pair
    path = certificate.with_name(f"{certificate.stem}-chain.pem")
    path.write_text("".join(one.read_text() for one in (certificate, *(by.certificate for by in authorities))))
    return path, key


def fingerprint_of_key(certificate):
    """The SHA-256 of a certificate's public key in base 64, as browsers name it."""
    public = openssl("x509", "-in", certificate, "-pubkey", "-noout")
    encoded = openssl("pkey", "-pubin", "-outform", "der", stdin=public)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()
