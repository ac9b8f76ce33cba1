"""amqps: the chain and the host name are checked, and what is encrypted is whole."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gemstone_events.errors import TransportRefusedError
from gemstone_events.testing.private_server import free_port
from gemstone_events.testing.servers import RabbitMQ
from gemstone_events.testing.transport_contract_harness import Recorder, ids, messages, publish
from gemstone_events.transport import Subscription, TransportSettings
from gemstone_events.transports.rabbitmq import open_url


@dataclass(frozen=True)
class TlsNode:
    """A node that is ``localhost`` and nobody else, as its certificate says."""

    port: int
    folder: Path

    def url(self, host: str = "localhost", ca: str = "ca", options: str = "") -> str:
        return f"amqps://guest:guest@{host}:{self.port}//?cafile={self.folder}/{ca}.pem{options}"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsNode]:
    folder = tmp_path_factory.mktemp("tls")
    for authority in ("ca", "other"):
        openssl(
            folder,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={authority}",
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # which Python 3.13 asks authorities for
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.pem",
        )
    certify(folder, "server", "DNS:localhost")
    certify(folder, "client", "DNS:client")
    folder.chmod(0o755)
    port = free_port()
    config = "\n".join(
        (
            f"listeners.ssl.1 = 127.0.0.1:{port}",
            f"ssl_options.cacertfile = {folder}/ca.pem",
            f"ssl_options.certfile = {folder}/server.pem",
            f"ssl_options.keyfile = {folder}/server.key",
            "ssl_options.verify = verify_peer",
            "ssl_options.fail_if_no_peer_cert = false",
        )
    )
    with RabbitMQ(config=config):
        yield TlsNode(port, folder)


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder: Path, name: str, alternative: str) -> None:
    """Have ``ca`` sign a certificate."""
    openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        f"/CN={name}",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.csr",
    )
    (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\n")
    openssl(
        folder,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        f"{name}.ext",
        "-out",
        f"{name}.pem",
    )


@pytest.mark.parametrize("options", ["", "client certificate"])
async def test_the_right_host_is_spoken_to(node: TlsNode, namespace: str, options: str) -> None:
    if options:
        options = f"&certfile={node.folder}/client.pem&keyfile={node.folder}/client.key"
    transport = open_url(node.url(options=options), TransportSettings(namespace=namespace))
    recorder = Recorder()
    await transport.open()
    await transport.subscribe([Subscription("billing", "a", prefetch=500)], recorder)
    assert transport.status().ready
    # Enough to fill the socket in both directions, and records that do not end where frames do.
    sent = [
        *messages("a", 3000),
        *(type(one)({**one.attributes, "id": f"big-{one.id}"}, bytes(700_000)) for one in messages("a", 20)),
    ]
    await publish(transport, sent)
    await recorder.until_count(len(sent))
    assert recorder.ids() == ids(sent)
    assert recorder.deliveries()[-1].message.body == bytes(700_000)
    await transport.close()


async def test_another_host_name_is_refused(node: TlsNode) -> None:
    transport = open_url(node.url(host="127.0.0.1"), TransportSettings())
    with pytest.raises(TransportRefusedError, match=r"127\.0\.0\.1"):
        await transport.open()


async def test_another_authority_is_refused(node: TlsNode) -> None:
    transport = open_url(node.url(ca="other"), TransportSettings())
    with pytest.raises(TransportRefusedError, match="certificate verify failed"):
        await transport.open()


async def test_the_systems_authorities_do_not_vouch_for_it(node: TlsNode) -> None:
    transport = open_url(f"amqps://localhost:{node.port}", TransportSettings())
    with pytest.raises(TransportRefusedError, match="certificate verify failed"):
        await transport.open()


async def test_a_missing_file_is_named(node: TlsNode) -> None:
    transport = open_url(node.url(ca="nowhere"), TransportSettings())
    with pytest.raises(TransportRefusedError, match="cafile"):
        await transport.open()
